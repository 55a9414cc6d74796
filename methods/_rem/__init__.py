"""What only REM needs."""
