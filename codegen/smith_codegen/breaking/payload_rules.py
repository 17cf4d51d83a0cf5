"""The rules of `[spec]`, `[tokens]`, `[messages]` and `[subjects]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .rule import ANY, BESIDE, PUBLISHERS, READERS, Effect, Rule, change, code, flag, nothing, part

_NARROWED: Final = Effect("narrowed", "wire", PUBLISHERS, "values that were valid are refused")
_WIDENED: Final = Effect("widened", "consumer", READERS, "older readers refuse the new values")
_BOUND: Final = code(_NARROWED, _WIDENED)
_LIMIT: Final = (
    Effect("lowered", "wire", PUBLISHERS, "messages that were valid are refused"),
    Effect("raised", "consumer", READERS, "older readers refuse larger messages"),
)
_MOVED: Final = Effect("moved to another package", "source", ANY, "imports fail")
_RENAMED: Final = Effect("renamed", "source", ANY, "the same on the wire")

PAYLOADS: Final[Mapping[str, Rule]] = {
    # ---- [spec]
    "SpecDecl.name": nothing("no program compares it"),
    "SpecDecl.version": nothing("no program compares it"),
    "SpecDecl.root": code(Effect("changed", "wire", BESIDE, "every subject is another one")),
    "SpecDecl.package": code(Effect("changed", "source", ANY, "imports fail")),
    "SpecDecl.extends": nothing("what comes from another package is compared by itself"),
    "SpecDecl.breaking": nothing("is for this command"),
    "BreakingDecl.ignore": nothing("is for this command"),
    "IgnoreDecl.key": nothing("is for this command"),
    "IgnoreDecl.reason": nothing("is for this command"),
    # ---- [tokens]
    "TokenDecl": code(
        Effect("removed", "source", ANY, "code that uses its type fails"),
        _RENAMED,
        _MOVED,
        Effect("open, and a closed set now", "wire", PUBLISHERS, "other values are refused"),
        Effect("a closed set, and open now", "wire", READERS, "older readers refuse the new values"),
        Effect("both, and of another base", "wire", BESIDE, "it is written in another way"),
    ),
    "TokenDecl.newtype": code(_RENAMED),
    "TokenDecl.enum": code(
        Effect("a value added", "consumer", READERS, "older readers do not know it"),
        Effect("a value removed", "wire", PUBLISHERS, "newer readers refuse what older publishers send"),
        Effect("all values replaced", "wire", BESIDE, "neither side knows the other's"),
    ),
    "TokenDecl.base": code(Effect("changed", "wire", BESIDE, "it is written in another way")),
    "TokenDecl.format": code(Effect("changed", "wire", BESIDE, "it is written in another way")),
    "TokenDecl.min": _BOUND,
    "TokenDecl.max": _BOUND,
    "TokenDecl.exclude": code(
        Effect("a value added", "wire", PUBLISHERS, "values that were valid are refused"),
        Effect("a value removed", "consumer", READERS, "older readers refuse it"),
    ),
    "TokenDecl.aliases": code(
        Effect("a spelling removed", "wire", PUBLISHERS, "newer readers refuse it"),
        Effect("a spelling of another value", "consumer", BESIDE, "it has another meaning"),
    ),
    # ---- [messages]
    "MessageDecl": code(
        Effect("removed", "wire", PUBLISHERS, "newer readers do not know it"),
        _RENAMED,
        _MOVED,
        Effect(
            "another tag",
            "wire",
            BESIDE,
            "readers of one version refuse the other's tag",
            "add a message of its own for the union, move programs over, then remove the old one",
        ),
    ),
    "MessageDecl.id": code(
        Effect(
            "changed",
            "wire",
            BESIDE,
            "duplicates are recognized by another field",
            "let publishers of one version stop before those of the other start: else a message is stored twice",
        )
    ),
    "MessageDecl.by": code(Effect("changed", "wire", BESIDE, "another field selects the payload")),
    "MessageDecl.max_items": code(*_LIMIT),
    "MessageDecl.max_depth": code(*_LIMIT),
    "MessageDecl.import": change(
        Effect(
            "",
            "wire",
            BESIDE,
            "the class says what its JSON is, and this command does not read it",
            "compare the JSON of both classes; if it is the same, name the key in `[spec.breaking]`",
        )
    ),
    "MessageDecl.rename": part("the keys of the fields in JSON"),
    "MessageDecl.examples": nothing("is for the documents"),
    "MessageDecl.deprecated": nothing("programs go on; checkers tell those that use it"),
    "EnumDecl": code(
        Effect("removed", "source", ANY, "code that uses it fails; its fields report what changes on the wire"),
        _RENAMED,
    ),
    "EnumDecl.values": code(
        Effect("one added, or other members of an open enum", "consumer", READERS, "older readers do not know it"),
        Effect("one removed", "wire", PUBLISHERS, "newer readers refuse what older publishers send"),
        Effect("all replaced", "wire", BESIDE, "neither side knows the other's"),
    ),
    "EnumDecl.open": code(
        Effect("set", "consumer", READERS, "older readers refuse other values"),
        Effect("dropped", "wire", PUBLISHERS, "newer readers refuse other values"),
        Effect("changed, and all values replaced", "wire", BESIDE, "neither side knows the other's"),
    ),
    "UnionDecl": code(
        Effect("removed", "wire", PUBLISHERS, "newer readers do not know it"),
    ),
    "UnionDecl.tag": code(Effect("changed", "wire", BESIDE, "another field selects the message")),
    "UnionDecl.members": code(
        Effect("one added", "consumer", READERS, "older readers do not know its tag"),
        Effect("one removed", "wire", PUBLISHERS, "newer readers refuse what older publishers send"),
        Effect("another message for a tag", "wire", BESIDE, "neither side reads the other's"),
        Effect("another name of the same message", "source", ANY, "the same on the wire"),
    ),
    "MessageDecl.mixins": part("the fields that they have"),
    "MixinDecl.fields": part("the fields themselves"),
    "MessageDecl.forbid_unknown": flag(
        given=Effect("", "wire", PUBLISHERS, "newer readers refuse fields that they do not know, of any publisher")
    ),
    "MessageDecl.fields": part("the fields themselves"),
    "MessageDecl.params": part("the fields themselves"),
    "FieldDecl": code(
        Effect("may be null, or one value more", "consumer", READERS, "older readers refuse the new values"),
        Effect(
            "may no longer be null, one value less, or of a narrower type",
            "wire",
            PUBLISHERS,
            "newer readers refuse what older publishers send",
            "keep it as it is, or give it a `default`; else deploy all publishers, let what is stored be read, then deploy the "
            "readers",
        ),
        Effect("of a wider type", "wire", READERS, "older readers refuse the new values"),
        Effect("of another type", "wire", BESIDE, "neither side reads the other's"),
        Effect("another name of the same type", "source", ANY, "the same on the wire"),
        Effect(
            "required one added",
            "wire",
            PUBLISHERS,
            "older writers omit it",
            "make it optional, or give it a `default`; else deploy all publishers, let what is stored be read, then deploy the "
            "readers",
        ),
        Effect(
            "removed",
            "wire",
            READERS,
            "older readers require it, or take it for absent",
            "make it optional first, and deploy all readers; then remove it, and deploy the publishers",
        ),
        Effect(
            "renamed",
            "wire",
            BESIDE,
            "each side reads its own name",
            'keep its wire name (`name = "..."`), or add the new field beside the old, move programs over, then remove the old',
        ),
        Effect(
            "added to a signed payload",
            "wire",
            READERS,
            "older readers that verify over the fields they know refuse its signature",
            "deploy all readers first, so that their check of the signature covers it, then the publishers",
        ),
        Effect(
            "added to a message with forbid_unknown",
            "consumer",
            READERS,
            "older readers refuse fields that they do not know",
        ),
        Effect(
            "removed from a message with forbid_unknown",
            "wire",
            BESIDE,
            "older readers require it, or take it for absent, and newer readers refuse it",
            "drop `forbid_unknown` first, and deploy all readers",
        ),
        Effect(
            "required one added to a signed payload, or to one with forbid_unknown",
            "wire",
            BESIDE,
            "older writers omit it, and older readers refuse its signature",
            "make it optional; the signature covers it, so deploy all readers first, then the publishers",
        ),
    ),
    "FieldDecl.type": part("the field itself"),
    "FieldDecl.fields": part("the fields themselves"),
    "FieldDecl.kinds": change(
        Effect("", "source", ANY, "`kind` has other values, and checkers refuse a match over the old ones"), usual=()
    ),
    "FieldDecl.default": code(
        Effect(
            "dropped",
            "wire",
            PUBLISHERS,
            "it is required, and older writers may leave it out",
            "keep the default; else deploy all publishers, let what is stored be read, then deploy the readers",
        ),
        Effect("added to a required field", "consumer", READERS, "older readers refuse a message without it"),
        Effect(
            "changed",
            "consumer",
            BESIDE,
            "an omitted value has another meaning",
            "have all publishers write the value, instead of leaving it out, before the default changes",
        ),
    ),
    "FieldDecl.new": code(Effect("dropped", "source", ANY, "`.new()` needs it, or no longer exists")),
    "FieldDecl.min": _BOUND,
    "FieldDecl.max": _BOUND,
    "FieldDecl.min_length": _BOUND,
    "FieldDecl.max_length": _BOUND,
    "FieldDecl.pattern": code(
        Effect("added", "wire", PUBLISHERS, "values that were valid are refused"),
        Effect("dropped", "consumer", READERS, "older readers refuse the new values"),
        Effect("changed", "wire", BESIDE, "each side refuses values of the other", "allow what both allow first, then narrow it"),
    ),
    "FieldDecl.name": part("the key of the field in JSON"),
    "FieldDecl.const": code(
        Effect("added", "wire", PUBLISHERS, "other values are refused"),
        Effect("changed, or dropped", "wire", BESIDE, "each side refuses the other's"),
    ),
    "FieldDecl.secret": nothing("the same on the wire; without it, the value is shown in logs"),
    "FieldDecl.deprecated": nothing("programs go on; checkers tell those that use it"),
    "FieldDecl.case": code(
        Effect("given", "wire", READERS, "older readers refuse upper case"),
        Effect("dropped", "wire", PUBLISHERS, "newer readers refuse upper case"),
    ),
    "FieldDecl.reads": code(
        Effect("a spelling removed", "wire", PUBLISHERS, "newer readers refuse it"),
        Effect("a spelling of another value", "consumer", BESIDE, "it has another meaning"),
    ),
    # ---- [subjects]
    "SubjectDecl": code(
        Effect(
            "removed",
            "wire",
            PUBLISHERS,
            "newer readers do not receive it",
            "deploy all publishers first; what is stored is read only by a consumer that remains",
        ),
        _RENAMED,
        _MOVED,
    ),
    "SubjectDecl.pattern": code(
        Effect("changed", "wire", BESIDE, "it is another subject"),
        Effect("new, and received by existing readers", "consumer", READERS, "older programs do not know it"),
        Effect("a token of another name", "source", ANY, "the same on the wire"),
    ),
    "SubjectDecl.message": code(
        Effect("changed", "wire", BESIDE, "neither side reads the other's payloads"),
        Effect("another name of the same payload", "source", ANY, "the same on the wire"),
    ),
    "SubjectDecl.stream": code(Effect("changed", "wire", BESIDE, "messages are stored where older consumers do not read")),
    "SubjectDecl.deprecated": nothing("programs go on; checkers tell those that use it"),
    "SubjectDecl.reply": code(
        Effect(
            "added, removed, or another payload",
            "wire",
            BESIDE,
            "callers wait for a reply that does not come, or that they cannot decode",
            "add a subject for the new reply beside the old one, move callers over, then remove the old one",
        ),
        Effect("another name of the same payload", "source", ANY, "the same on the wire"),
    ),
    "SubjectDecl.headers": code(
        Effect("added, and one is required", "wire", PUBLISHERS, "older publishers do not send it"),
        Effect("removed", "wire", READERS, "older readers may require them, and publishers lose with_headers()"),
        Effect("others", "wire", BESIDE, "neither side reads the other's"),
        Effect("another name of the same headers", "source", ANY, "the same on the wire"),
    ),
    "SubjectDecl.errors": code(
        Effect("one added", "consumer", READERS, "older callers do not know its code, and raise a plain ServiceError"),
        Effect("one removed", "source", ANY, "its exception class no longer exists"),
    ),
    "ErrorDecl.code": code(
        Effect(
            "changed",
            "wire",
            BESIDE,
            "callers of one version do not recognise the other's",
            "keep the code, or add another error",
        )
    ),
    "SubjectDecl.dead_letters": code(Effect("dropped", "consumer", READERS, "no more dead letters are published there")),
}
