"""Every route of the interface, by method and path: who may come, what it does, and how often.

The table is complete: an application with a handler that is not here is not built, and neither is one
with a line here that no handler answers.  Whoever adds a route adds its line; the tests of access go
through all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from tertulia.domain import commands as c
from tertulia.domain.commands import Command
from tertulia.domain.errors import Code


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route.

    `does` is the commands that it carries out, or the name of a query or of an action on accounts.
    `rule` names its rate limit ("" for none), `refusals` the codes that it may answer with beyond those
    that its kind implies.  `creates`: 201 when something was made, 200 when it was there already.
    """

    method: str
    path: str
    name: str
    does: tuple[type[Command], ...] | str
    public: bool = False
    rule: str = ""
    creates: bool = False
    refusals: tuple[Code, ...] = ()

    @property
    def is_command(self) -> bool:
        """Whether it changes a log."""
        return not isinstance(self.does, str)

    @property
    def key(self) -> tuple[str, str]:
        """How it is looked up."""
        return self.method, self.path


_MESSAGE_RULE: Final = (c.SendMessage, c.ForwardMessage)


def _do(
    method: str,
    path: str,
    name: str,
    *commands: type[Command],
    creates: bool = False,
    refusals: tuple[Code, ...] = (),
) -> Route:
    rule = "command"
    if commands[0] in _MESSAGE_RULE:
        rule = "message"
    elif commands[0] is c.SetTyping:
        rule = "typing"
    return Route(
        method=method,
        path="/v1" + path,
        name=name,
        does=commands,
        rule=rule,
        creates=creates,
        refusals=refusals,
    )


def _ask(path: str, name: str, *, rule: str = "query", refusals: tuple[Code, ...] = ()) -> Route:
    return Route(method="GET", path="/v1" + path, name=name, does=name, rule=rule, refusals=refusals)


def _public(
    method: str, path: str, name: str, *refusals: Code, rule: str = "public", creates: bool = False
) -> Route:
    return Route(
        method=method,
        path=path,
        name=name,
        does=name,
        public=True,
        rule=rule,
        creates=creates,
        refusals=refusals,
    )


def _own(method: str, path: str, name: str, *refusals: Code) -> Route:
    """An action on one's own account that is no command of a log."""
    return Route(method=method, path="/v1" + path, name=name, does=name, rule="command", refusals=refusals)


_C: Final = "/conversations/{conversation}"
_M: Final = _C + "/messages/{seq}"

ROUTES: Final[tuple[Route, ...]] = (
    # accounts: whoever comes has no token yet
    _public("POST", "/v1/accounts", "sign_up", "forbidden", "handle_taken"),
    _public(
        "POST", "/v1/accounts/verify", "verify_account", "credentials_refused", "handle_taken", creates=True
    ),
    _public("POST", "/v1/accounts/resend", "resend_code"),
    _public(
        "POST",
        "/v1/sessions",
        "sign_in",
        "credentials_refused",
        "verification_required",
        "forbidden",
        creates=True,
    ),
    _public(
        "POST",
        "/v1/sessions/user-token",
        "sign_in_with_user_token",
        "credentials_refused",
        "forbidden",
        creates=True,
    ),
    _public("POST", "/v1/sessions/refresh", "refresh_session", "token_expired"),
    _public("POST", "/v1/password/reset", "request_password_reset"),
    _public("POST", "/v1/password/reset/confirm", "confirm_password_reset", "credentials_refused"),
    _own("DELETE", "/sessions/current", "sign_out"),
    _own("POST", "/password", "change_password", "credentials_refused"),
    # one's own
    _ask("/me", "get_me"),
    _do("PATCH", "/me", "update_me", c.UpdateProfile, refusals=("handle_taken",)),
    _ask("/me/settings", "get_settings"),
    _do("PATCH", "/me/settings", "update_settings", c.UpdateSettings),
    _ask("/me/devices", "list_devices"),
    _do("DELETE", "/me/devices/{device}", "revoke_device", c.RevokeDevice),
    _ask("/me/drafts", "list_drafts"),
    _do("PUT", "/me/drafts/{conversation}", "set_draft", c.SetDraft, refusals=("limit_reached",)),
    _ask("/me/bookmarks", "list_bookmarks"),
    _do(
        "PUT",
        "/me/bookmarks/{conversation}/{seq}",
        "add_bookmark",
        c.AddBookmark,
        refusals=("limit_reached",),
    ),
    _do("DELETE", "/me/bookmarks/{conversation}/{seq}", "remove_bookmark", c.RemoveBookmark),
    _ask("/me/mentions", "list_mentions"),
    _ask("/me/scheduled", "list_scheduled"),
    _do(
        "DELETE",
        "/me/scheduled/{schedule}",
        "cancel_scheduled",
        c.CancelSchedule,
        refusals=("already_done",),
    ),
    _ask("/me/threads", "list_threads"),
    _ask("/me/events", "list_own_events"),
    _ask("/me/blocks", "list_blocks"),
    _do("PUT", "/me/blocks/{user}", "block_user", c.BlockUser, refusals=("limit_reached",)),
    _do("DELETE", "/me/blocks/{user}", "unblock_user", c.UnblockUser),
    _do("PUT", "/me/presence", "set_presence", c.SetPresence),
    # people
    _ask("/users", "find_users"),
    _ask("/users/{user}", "get_user"),
    _ask("/users/{user}/presence", "get_presence"),
    _ask("/contacts", "list_contacts"),
    _do("PUT", "/contacts/{user}", "add_contact", c.RequestContact, refusals=("limit_reached",)),
    _do("DELETE", "/contacts/{user}", "remove_contact", c.RemoveContact),
    _do("POST", "/reports", "create_report", c.CreateReport, creates=True),
    # conversations
    _ask("/conversations", "list_conversations"),
    _do(
        "POST",
        "/conversations",
        "create_conversation",
        c.OpenDirect,
        c.CreateGroup,
        c.CreateChannel,
        creates=True,
        refusals=("limit_reached",),
    ),
    _ask("/channels", "list_channels"),
    _ask(_C, "get_conversation"),
    _do("PATCH", _C, "update_conversation", c.UpdateConversation),
    _do("DELETE", _C, "delete_conversation", c.DeleteConversation),
    _do("POST", _C + "/join", "join_channel", c.JoinChannel, refusals=("limit_reached",)),
    _do("POST", _C + "/leave", "leave_conversation", c.LeaveConversation),
    _ask(_C + "/members", "list_members"),
    _do(
        "PUT",
        _C + "/members/{user}",
        "set_member",
        c.AddMember,
        c.SetRole,
        refusals=("limit_reached",),
    ),
    _do("DELETE", _C + "/members/{user}", "remove_member", c.RemoveMember),
    _ask(_C + "/topics", "list_topics"),
    _do(
        "POST",
        _C + "/topics",
        "create_topic",
        c.CreateTopic,
        creates=True,
        refusals=("limit_reached",),
    ),
    _ask(_C + "/invites", "list_invites", refusals=("forbidden",)),
    _do(
        "POST",
        _C + "/invites",
        "create_invite",
        c.CreateInvite,
        creates=True,
        refusals=("limit_reached",),
    ),
    _do("DELETE", _C + "/invites/{invite}", "revoke_invite", c.RevokeInvite),
    _do(
        "POST",
        "/invites/accept",
        "accept_invite",
        c.AcceptInvite,
        refusals=("expired", "limit_reached"),
    ),
    _ask(_C + "/preferences", "get_preferences"),
    _do("PATCH", _C + "/preferences", "set_preferences", c.SetPreferences),
    _ask(_C + "/events", "list_events"),
    _do("PUT", _C + "/typing", "set_typing", c.SetTyping),
    _do("PUT", _C + "/cursors", "set_cursors", c.MarkRead, c.MarkReceived),
    _ask(_C + "/receipts", "list_receipts", refusals=("forbidden",)),
    # messages
    _ask(_C + "/messages", "list_messages"),
    _do(
        "POST",
        _C + "/messages",
        "send_message",
        c.SendMessage,
        creates=True,
        refusals=("peer_unavailable", "too_large"),
    ),
    _ask(_M, "get_message"),
    _do("PATCH", _M, "edit_message", c.EditMessage, refusals=("peer_unavailable", "too_large")),
    _do("DELETE", _M, "delete_message", c.DeleteMessage),
    _ask(_M + "/edits", "list_edits"),
    _ask(_M + "/thread", "list_thread"),
    _do("PUT", _M + "/thread/follow", "follow_thread", c.FollowThread),
    _do("DELETE", _M + "/thread/follow", "unfollow_thread", c.UnfollowThread),
    _ask(_M + "/reactions", "list_reactions"),
    _do(
        "PUT",
        _M + "/reactions/{emoji}",
        "add_reaction",
        c.AddReaction,
        refusals=("limit_reached", "peer_unavailable"),
    ),
    _do(
        "DELETE",
        _M + "/reactions/{emoji}",
        "remove_reaction",
        c.RemoveReaction,
        refusals=("peer_unavailable",),
    ),
    _do(
        "PUT",
        _M + "/pin",
        "pin_message",
        c.PinMessage,
        refusals=("limit_reached", "peer_unavailable"),
    ),
    _do("DELETE", _M + "/pin", "unpin_message", c.UnpinMessage, refusals=("peer_unavailable",)),
    _ask(_C + "/pins", "list_pins"),
    _do(
        "PUT",
        _M + "/vote",
        "vote",
        c.VotePoll,
        refusals=("already_done", "peer_unavailable"),
    ),
    _do(
        "POST",
        _M + "/close",
        "close_poll",
        c.ClosePoll,
        refusals=("already_done", "peer_unavailable"),
    ),
    _do(
        "POST",
        _M + "/forward",
        "forward_message",
        c.ForwardMessage,
        creates=True,
        refusals=("peer_unavailable", "too_large"),
    ),
    _do(
        "POST",
        _C + "/scheduled",
        "schedule_message",
        c.ScheduleMessage,
        creates=True,
        refusals=("limit_reached", "peer_unavailable", "too_large"),
    ),
    _ask("/search", "search", rule="search", refusals=("not_found",)),
    # streams and what is not of a person
    _ask("/events", "stream_events", rule="stream", refusals=("limit_reached",)),
    _public("GET", "/v1/openapi.json", "get_openapi"),
    _public("GET", "/v1/asyncapi.json", "get_asyncapi"),
    _public("GET", "/docs", "docs_page", rule=""),
    _public("GET", "/docs/{file}", "docs_file", rule=""),
    _public("GET", "/healthz", "health", rule=""),
    _public("GET", "/readyz", "readiness", rule=""),
    _public("GET", "/metrics", "metrics", rule=""),
)

BY_KEY: Final[Mapping[tuple[str, str], Route]] = MappingProxyType({route.key: route for route in ROUTES})
