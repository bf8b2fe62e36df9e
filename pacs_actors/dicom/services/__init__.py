"""The services that we offer on an association, a file each: ``async def serve(association, incoming)``."""
