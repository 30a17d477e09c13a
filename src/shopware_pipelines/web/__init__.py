"""The web events pipeline: what the streams share is in `streaming`, what only this feed has is here."""
