-- Which copies the index knows is asked by their keys, which tell the digest of the object.
CREATE INDEX object_copies_digest ON object_copies (object_digest);
