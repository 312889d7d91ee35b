"""From a recipe to a checkpoint: the loop, the files of a run, the evaluation. Importing it imports no torch."""
