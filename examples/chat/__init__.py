"""A chat: one room actor per topic, with history, presence and typing."""

from understudy.examples.chat.room import PAGES, ChatRoom, Record, Unkept

__all__ = ["PAGES", "ChatRoom", "Record", "Unkept"]
