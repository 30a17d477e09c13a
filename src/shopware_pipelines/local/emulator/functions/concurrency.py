"""How many functions run at once: bounded, as by Lambda's concurrency.

Conformance tests: `tests/local/emulator/functions/test_concurrency.py`.
"""

from __future__ import annotations

import contextvars
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from shopware_pipelines.local.emulator.functions.async_calls import MAX_AGE_SECONDS, RETRIES, Answer, AsyncCalls
from shopware_pipelines.local.emulator.functions.event_queue import Event, EventQueue

QUEUE_FILE: Final = "async-events.sqlite"
ASYNC_SHARE: Final = 2
"""Asynchronous events take at most half of the account's concurrency (1 / ASYNC_SHARE): sources that wait for an answer
must not starve behind a long queue."""
LIMIT_VARIABLE: Final = "LAMBDA_ACCOUNT_CONCURRENCY"
"""Under this name the emulator reads the account's limit, and throttles what is beyond it."""

T = TypeVar("T")

_queues: list[EventQueue] = []
_calls: dict[str, dict[str, Any]] = {}
"""Function name to when it was last called, when it last failed and with what, in epoch seconds."""


def apply() -> None:
    """All of them."""
    templates_reserve_concurrency()
    workers_are_bounded()
    async_events_wait()
    calls_are_remembered()


def report() -> dict[str, Any]:
    """What functions do at this moment, for `swp status` and for tests."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    with lambda_runtime._lock:
        workers = sum(len(pool) for pool in lambda_runtime._workers.values())
    waiting = {arn: depth for queue in _queues for arn, depth in queue.depths().items()}
    return {
        "limit": lambda_svc._ACCOUNT_CONCURRENCY_CAP,
        "workers": workers,
        "executions": lambda_svc.executions_in_flight()[0],
        "calls": {name: dict(seen) for name, seen in list(_calls.items())},
        "waiting": {arn: {"events": events, "oldest_at": oldest} for arn, (events, oldest) in waiting.items()},
    }


def templates_reserve_concurrency() -> None:
    """Plain: `ReservedConcurrentExecutions` of a template is ignored. Patched: it is set and taken away as there."""
    from ministack.services import lambda_svc
    from ministack.services.cloudformation import provisioners

    def reserving(plain: Callable[..., Any], properties_at: int) -> Callable[..., Any]:
        def provision(*arguments: Any, **named: Any) -> Any:
            name, attributes = plain(*arguments, **named)
            reserved = arguments[properties_at].get("ReservedConcurrentExecutions")
            lambda_svc._functions[name]["concurrency"] = None if reserved is None else int(reserved)
            return name, attributes

        return provision

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    handlers["create"] = reserving(handlers["create"], properties_at=1)
    handlers["update"] = reserving(handlers["update"], properties_at=2)


def workers_are_bounded() -> None:
    """Plain: idle workers stay for minutes beside those that work, so there may be a limit's worth of each function.
    Patched: there are never more processes than the account's limit; an idle one makes room for a new one."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    plain = lambda_runtime.acquire_worker

    def acquire(*arguments: Any, **named: Any) -> Any:
        worker, how = plain(*arguments, **named)
        if how == "spawn":
            with lambda_runtime._lock:
                idle = _surplus(lambda_runtime._workers, lambda_svc._ACCOUNT_CONCURRENCY_CAP)
            # Before the new one starts its process, which it does at its first call.
            lambda_runtime.kill_workers(idle)
        return worker, how

    lambda_runtime.acquire_worker = lambda_svc.acquire_worker = acquire


def _surplus(pools: dict[str, list[Any]], limit: int) -> list[Any]:
    """Takes out as many idle workers as are too many: of the function with most idle ones, what was idle longest."""
    gone = []
    while sum(map(len, pools.values())) > limit:
        idle = [(key, worker) for key, pool in pools.items() for worker in pool if not worker.in_use]
        if not idle:
            break
        counts = Counter(key for key, _ in idle)
        key, worker = max(idle, key=lambda found: (counts[found[0]], -found[1].last_used))
        pools[key].remove(worker)
        gone.append(worker)
    return gone


def async_events_wait() -> None:
    """Plain: each asynchronous event has a thread and, at the limit, is lost after three tries; events of EventBridge
    and SNS after one. Patched: they wait in a queue that survives a kill, as on AWS, and a few threads work on it."""
    from ministack.services import eventbridge, lambda_svc, sns

    queue = EventQueue(Path(os.environ["STATE_DIR"]) / QUEUE_FILE, time.time)
    _queues[:] = [queue]
    at_once: int = max(1, lambda_svc._ACCOUNT_CONCURRENCY_CAP // ASYNC_SHARE)

    def accept(func: Mapping[str, Any], event: Any) -> None:
        config = func.get("config") or func
        queue.put(config["FunctionArn"], event, lambda_svc._invoke_depth.get())

    def accept_for(arn: str, event: Any) -> None:
        func, config, name = lambda_svc._get_func_record_for_ref(arn)
        if func and config:
            accept({"config": config}, event)
        else:
            lambda_svc.logger.warning("asynchronous call: there is no function %s", name)

    def from_eventbridge(arn: str, payload: str) -> None:
        try:
            event = json.loads(payload)
        except (ValueError, TypeError):
            event = {"body": payload}
        accept_for(arn, event)

    def from_sns(endpoint: str, envelope: str, _topic: str, subscription: str, *_: Any) -> None:
        record = {"EventVersion": "1.0", "EventSubscriptionArn": subscription, "EventSource": "aws:sns"}
        accept_for(endpoint, {"Records": [{**record, "Sns": json.loads(envelope)}]})

    def room(arn: str) -> int:
        reserved: int | None = _in_scope(arn, 0, lambda: _reserved(arn))
        # None at all would keep its events for ever; so they are refused until they are too old.
        return at_once if reserved is None else max(1, min(at_once, reserved))

    lambda_svc.invoke_async_with_retry = accept
    eventbridge._dispatch_to_lambda = from_eventbridge
    sns._deliver_to_lambda = from_sns
    calls = AsyncCalls(queue, _call, _give_up, time.time)
    for number in range(at_once):
        threading.Thread(target=calls.run, args=(room,), name=f"async-{number}", daemon=True).start()


def calls_are_remembered() -> None:
    """Plain: nobody knows what a function did last. Patched: `report` says it."""
    from ministack.services import lambda_svc

    plain = lambda_svc._execute_function_dispatch

    def dispatch(func: Any, config: Any, *arguments: Any) -> Any:
        result = plain(func, config, *arguments)
        seen = _calls.setdefault(config.get("FunctionName", ""), {})
        seen["called_at"] = time.time()
        if result.get("error"):
            said = result["body"].get("errorMessage") if isinstance(result.get("body"), dict) else result.get("body")
            seen |= {"failed_at": seen["called_at"], "error": str(said)[:200]}
        return result

    lambda_svc._execute_function_dispatch = dispatch


def _in_scope(arn: str, depth: int, work: Callable[[], T]) -> T:
    """As the account and in the region of a function."""
    from ministack.services import lambda_svc

    def scoped() -> T:
        _, _, _, region, account, *_ = arn.split(":")
        lambda_svc._request_account_id.set(account)
        lambda_svc._request_region.set(region)
        lambda_svc._invoke_depth.set(depth)
        return work()

    return contextvars.copy_context().run(scoped)


def _reserved(arn: str) -> int | None:
    from ministack.services import lambda_svc

    func, config, _ = lambda_svc._get_func_record_for_ref(arn)
    reserved: int | None = lambda_svc._reserved_concurrency(func, config) if func and config else None
    return reserved


def _call(event: Event) -> Answer:
    from ministack.services import lambda_svc

    def call() -> Answer:
        func, config, _ = lambda_svc._get_func_record_for_ref(event.function)
        if not func or not config:
            return Answer(refused=True)
        record = lambda_svc._execution_record_for_config(func, {**config, "FunctionArn": event.function})
        result = lambda_svc._execute_function(record, event.payload)
        settings = lambda_svc._event_invoke_config(func, _qualifier(event.function)) or {}
        refused = bool(result.get("throttle"))
        return Answer(
            failed=bool(result.get("error")) and not refused,
            refused=refused,
            result=result,
            retries=int(settings.get("MaximumRetryAttempts", RETRIES)),
            max_age_seconds=float(settings.get("MaximumEventAgeInSeconds", MAX_AGE_SECONDS)),
        )

    return _in_scope(event.function, event.depth, call)


def _give_up(event: Event, answer: Answer) -> None:
    from ministack.services import lambda_svc

    def tell() -> None:
        func, config, name = lambda_svc._get_func_record_for_ref(event.function)
        settings = lambda_svc._event_invoke_config(func or {}, _qualifier(event.function)) or {}
        destination = (settings.get("DestinationConfig") or {}).get("OnFailure", {}).get("Destination")
        destination = destination or ((config or {}).get("DeadLetterConfig") or {}).get("TargetArn")
        lambda_svc.logger.warning("%s: given up after %d failures: %.200s", name, event.failures, event.payload)
        if destination:
            lambda_svc._route_async_failure(destination, name, event.payload, answer.result or {})

    _in_scope(event.function, event.depth, tell)


def _qualifier(arn: str) -> str | None:
    parts = arn.split(":")
    return parts[7] if len(parts) > 7 else None
