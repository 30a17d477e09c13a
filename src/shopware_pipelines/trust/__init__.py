"""The proof that nothing was lost or counted twice: what producers say they polled against what lies in the lake."""
