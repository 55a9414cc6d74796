"""Pictures that explain one trial: what its victim made of clean and of published examples."""
