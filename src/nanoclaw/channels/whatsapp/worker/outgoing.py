"""From what the host wants said to the platform's message. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from neonize.proto.Neonize_pb2 import UploadResponse
from neonize.proto.waE2E.WAWebProtobufsE2E_pb2 import (
    AudioMessage,
    ContextInfo,
    DocumentMessage,
    ExtendedTextMessage,
    ImageMessage,
    Message,
    VideoMessage,
)

from nanoclaw.channels.whatsapp.protocol import Result

_IMAGES: Final = frozenset({"image/jpeg", "image/png"})  # what every client shows in line; others go as documents
_VOICE: Final = frozenset({"audio/ogg", "audio/opus"})
_AUDIO: Final = frozenset({"audio/mpeg", "audio/mp4", "audio/aac", "audio/amr"})
_VIDEOS: Final = frozenset({"video/mp4", "video/3gpp"})
_LATER: Final = ("429", "408", "500", "503")
_NEVER: Final = (
    "server returned error 4",
    "not-authorized",
    "item-not-found",
    "forbidden",
    "does not exist",
    "not participating",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quoted:
    """The message that ours is shown as an answer to."""

    ext_id: str
    participant: str
    text: str


def kind_of(mime: str) -> str:
    """What a file is sent as: `image`, `video`, `audio`, `voice` or `document`."""
    kinds = {"image": _IMAGES, "video": _VIDEOS, "voice": _VOICE, "audio": _AUDIO}
    return next((kind for kind, mimes in kinds.items() if mime in mimes), "document")


def build(
    text: str, *, quoted: Quoted | None, expiration: int, file: UploadResponse | None, name: str = "", mime: str = ""
) -> Message:
    """One message: text, or an uploaded file with `text` as its caption."""
    context = _context(quoted, expiration)
    if file is None:
        return Message(extendedTextMessage=ExtendedTextMessage(text=text, contextInfo=context))
    common: dict[str, Any] = {
        "URL": file.url,
        "directPath": file.DirectPath,
        "mediaKey": file.MediaKey,
        "fileEncSHA256": file.FileEncSHA256,
        "fileSHA256": file.FileSHA256,
        "fileLength": file.FileLength,
        "contextInfo": context,
    }
    match kind_of(mime):
        case "image":
            return Message(imageMessage=ImageMessage(mimetype=mime, caption=text, **common))
        case "video":
            return Message(videoMessage=VideoMessage(mimetype=mime, caption=text, **common))
        case "voice":
            return Message(audioMessage=AudioMessage(mimetype="audio/ogg; codecs=opus", PTT=True, **common))
        case "audio":
            return Message(audioMessage=AudioMessage(mimetype=mime, **common))
        case _:
            return Message(
                documentMessage=DocumentMessage(mimetype=mime, fileName=name, title=name, caption=text, **common)
            )


def _context(quoted: Quoted | None, expiration: int) -> ContextInfo | None:
    if quoted is None and not expiration:
        return None
    context = ContextInfo()
    if expiration:
        context.expiration = expiration
    if quoted:
        context.stanzaID = quoted.ext_id
        context.participant = quoted.participant
        context.quotedMessage.conversation = quoted.text
    return context


def result_of(problem: str, *, on_wire: bool) -> Result:
    """What a failed send came to.

    Args:
        problem: the library's words.
        on_wire: whether the message may have left this machine.
    """
    refused = "server returned error" in problem
    if on_wire and not refused:
        return "unknown"
    if any(word in problem for word in _NEVER) and not any(code in problem for code in _LATER):
        return "rejected"
    return "unavailable"
