"""From what the user asks for to the tokens of each label."""
