"""The pages, one module for each noun. A handler asks a service and gives a template plain values."""
