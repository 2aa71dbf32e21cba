"""What is written about models: tables, figures, pages."""
