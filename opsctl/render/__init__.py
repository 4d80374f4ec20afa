"""How answers look to people: pure functions from a record and a `Look` to text. Nothing here asks or prints."""
