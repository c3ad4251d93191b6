"""Everything behind the routes: wiring, strict requests, uniform answers."""
