"""A token's account and write access."""

from collections.abc import Mapping
from typing import Any

from flockoff.errors import HubUnauthorized
from flockoff.records import HubAccount


def account_of(whoami: Mapping[str, Any]) -> HubAccount:
    """The account in a whoami response."""
    owners, readable = writable_owners(whoami), {item["name"] for item in whoami.get("orgs") or []}
    return HubAccount(whoami["name"], can_write(whoami), frozenset(owners), frozenset(readable - owners))


def require_write(account: HubAccount, repo_id: str) -> None:
    """Raises HubUnauthorized if the account's token cannot write to that repo."""
    owner, _, name = repo_id.partition("/")
    if not account.can_write:
        raise HubUnauthorized(
            f"The Hugging Face token of {account.name} is read-only.",
            remedy="Create one with write access at https://huggingface.co/settings/tokens; put it "
            "into .env as HF_TOKEN.",
        )
    if owner.casefold() in {each.casefold() for each in account.readable}:
        raise HubUnauthorized(
            f"{account.name}, whose Hugging Face token this is, may only read in the organisation {owner}.",
            remedy="Ask its administrator for the role of contributor or write, or use a repo of your own, "
            f"such as {account.name}/{name}.",
        )
    if owner.casefold() not in {each.casefold() for each in account.owners}:
        raise HubUnauthorized(
            f"The Hugging Face token belongs to {account.name}, which cannot write to {repo_id}.",
            remedy=f"Use a repo of your own, such as {account.name}/{name}, or a token of {owner}.",
        )


def can_write(whoami: Mapping[str, Any]) -> bool:
    """Whether the token in a whoami response can write anywhere; assumed if no role is given."""
    token = (whoami.get("auth") or {}).get("accessToken") or {}
    role = token.get("role")
    if role == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or []
        return any("repo.write" in (scope.get("permissions") or []) for scope in scopes)
    return role != "read"


def writable_owners(whoami: Mapping[str, Any]) -> set[str]:
    """The user in a whoami response and the organisations where the user has write access."""
    organisations = whoami.get("orgs") or []
    return {whoami["name"]} | {item["name"] for item in organisations if item.get("roleInOrg") != "read"}
