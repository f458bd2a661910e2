"""PLCs and other controllers: they ask for inspections and get outcomes in time. One file a kind."""
