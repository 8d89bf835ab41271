"""What stages run that train no model: scores, rules, solutions."""
