"""The only place with SQL. PostgreSQL is the truth; a row's state says what is still owed for it."""
