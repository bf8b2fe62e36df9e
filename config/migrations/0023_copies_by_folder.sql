-- Copies and the book of copies are held against each other in the order of their keys, which begin with their study's folder.
DROP INDEX object_copies_digest;
CREATE INDEX object_copies_folder ON object_copies (store, left(key, 32));
