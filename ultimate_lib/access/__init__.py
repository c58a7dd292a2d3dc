"""Who may do what: roles and permissions, users, keys, sessions. The rows live in the store, the rules here."""
