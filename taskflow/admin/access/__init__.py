"""Who may use the admin: accounts, sessions, the login page, and the guard before every route."""
