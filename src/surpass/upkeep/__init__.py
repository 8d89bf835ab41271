"""What is done with a store as a whole: what is no longer wanted, why stages are missing, archives."""
