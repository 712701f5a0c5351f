// placeholder until the room has a source
