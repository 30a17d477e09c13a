"""`swp up`, `swp status`, `swp down`: the local stack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shopware_pipelines.cli.output import emit_json, require_extra, stderr, stdout

HOME_HELP = "Folder of the stack; default: SWP_HOME, or .swp in the present folder."
HomeOption = Annotated[Path | None, typer.Option("--home", metavar="FOLDER", help=HOME_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("up")(up)
    app.command("status")(status)
    app.command("down")(down)


def up(
    port: Annotated[
        int, typer.Option(help="Port on the loopback interface; 0 takes a free one.", min=0, max=65535)
    ] = 14566,
    with_source: Annotated[
        bool, typer.Option("--source", help="Also a simulator of the shop's two APIs, which the pollers poll.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Build a state that is lost or damaged again from the objects and the records of the streams.",
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start the local stack: an emulator of AWS with the shipped templates, and what plays AWS's event sources.

    Nothing listens beyond this machine. Files dropped into the source bucket are processed until `swp down`, and with
    --source records of both streams come in too.

    Example: swp up --source
    """
    from rich.markup import escape

    require_extra("local", "ministack")
    from shopware_pipelines.local import stack
    from shopware_pipelines.local.home import Home
    from shopware_pipelines.local.source_api import source

    folder = home or stack.default_folder()
    origin = None
    with stderr().status("starting") as line:
        running = stack.up(Home(folder), port, lambda what: line.update(what), repair=repair)
        recovered = running.recovered
        if with_source:
            origin = source.running(Home(folder)) or source.start(Home(folder), seed=1, settings={}, replay={})
            running = stack.up(Home(folder), port, lambda what: line.update(what), api_urls=origin.api_urls)
            recovered += running.recovered
    for sentence in recovered:
        stderr().print(f"recovered: {escape(sentence)}", soft_wrap=True)
    if as_json:
        document = {"endpoint_url": running.endpoint_url, "home": str(folder.absolute()), "outputs": running.outputs}
        emit_json(document | ({"api_urls": origin.api_urls} if origin else {}))
        return
    out = stdout()
    out.print(f"[bold]The local stack is up[/bold] at {running.endpoint_url}, its folder is {escape(str(folder))}.")
    bucket = running.outputs["SourceBucket"]
    prefix = "inventory/"
    out.print("\nDrop a file (any AWS client works; these credentials are dummies):", highlight=False)
    out.print(
        f"  AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=eu-central-1 \\\n"
        f"  aws --endpoint-url {running.endpoint_url} s3 cp stock.jsonl s3://{bucket}/{prefix}",
        soft_wrap=True,
        highlight=False,
    )
    if origin:
        out.print("\nBoth streams run. Rates and faults of their source, and how to change them:", highlight=False)
        out.print(f"  curl {origin.control_url}", soft_wrap=True, highlight=False)
        out.print(
            f'  curl {origin.control_url} -d \'{{"web": {{"rate": 50, "broken_share": 0.05}}}}\'',
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
        out.print("Is every record accounted for?  swp reconcile", highlight=False)
    out.print("\nStop it: swp down", highlight=False)


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Say of everything in the local stack that should run whether it does, and when it last did something.

    Exit code 0 when all of it runs, 1 otherwise; each part that does not is named, with what to do.

    Example: swp status --json
    """
    from rich.markup import escape

    require_extra("local", "ministack")
    from shopware_pipelines.local import stack
    from shopware_pipelines.local.home import Home
    from shopware_pipelines.local.status.gather import gather
    from shopware_pipelines.local.status.judge import judge
    from shopware_pipelines.local.status.report import document, lines

    folder = home or stack.default_folder()
    facts = gather(Home(folder))
    parts = judge(facts) if facts else []
    if as_json:
        emit_json(document(facts, parts))
    elif not facts:
        stdout().print(f"There is no local stack in {escape(str(folder))}. Start one: swp up")
    else:
        for line in lines(parts):
            stdout().print(line, highlight=False, markup=False, soft_wrap=True)
    if not parts or not all(part.ok for part in parts):
        raise typer.Exit(1)


def down(
    home: HomeOption = None,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the stack's folder: all its data.")] = False,
) -> None:
    """Stop the local stack; with --wipe remove its data too.

    Example: swp down --wipe
    """
    require_extra("local", "ministack")
    from shopware_pipelines.local import stack
    from shopware_pipelines.local.home import Home

    stopped = stack.down(Home(home or stack.default_folder()), wipe=wipe)
    what = f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running."
    stdout().print(f"{what}{' Its data is removed.' if wipe else ''}")
