"""The page in front of the viewer while a study is recalled."""
