//! What dialogues cannot show.
