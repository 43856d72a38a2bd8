"""What a token may write, and who it belongs to."""

from collections.abc import Mapping
from typing import Any

from flockoff.errors import HubUnauthorized
from flockoff.records import HubAccount


def account_of(whoami: Mapping[str, Any]) -> HubAccount:
    """The account that a whoami answer is about."""
    owners, readable = writable_owners(whoami), {item["name"] for item in whoami.get("orgs") or []}
    return HubAccount(whoami["name"], can_write(whoami), frozenset(owners), frozenset(readable - owners))


def require_write(account: HubAccount, repo_id: str) -> None:
    """Raises HubUnauthorized where the account's token cannot write to a repo of that name."""
    owner, _, name = repo_id.partition("/")
    if not account.can_write:
        raise HubUnauthorized(
            f"The Hugging Face token of {account.name} may only read.",
            remedy="Make one that may write at https://huggingface.co/settings/tokens; put it into .env as "
            "HF_TOKEN.",
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
    """Whether the token of a whoami answer can write somewhere. One that tells no role is taken to."""
    token = (whoami.get("auth") or {}).get("accessToken") or {}
    role = token.get("role")
    if role == "fineGrained":
        scopes = (token.get("fineGrained") or {}).get("scoped") or []
        return any("repo.write" in (scope.get("permissions") or []) for scope in scopes)
    return role != "read"


def writable_owners(whoami: Mapping[str, Any]) -> set[str]:
    """The user of a whoami answer and the organisations that the user may write in."""
    organisations = whoami.get("orgs") or []
    return {whoami["name"]} | {item["name"] for item in organisations if item.get("roleInOrg") != "read"}
