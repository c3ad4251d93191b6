"""Everything behind the routes: settings, wiring, strict requests, uniform answers."""
