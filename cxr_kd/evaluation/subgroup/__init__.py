"""Groups of patients: how well each is served, and how distillation changes the gaps. Start at `tables`."""
