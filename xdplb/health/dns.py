"""The `dns` check: a question, and an answer without error, in which something is found.

What fails: every response code but NOERROR, also NXDOMAIN, by its name; and with `expect`, no answer that it is found
in. Without `expect`, an answer without records (NODATA) passes: the server serves. What is truncated is asked again
over TCP, as clients do. With `full_size` the same question goes once more, padded (RFC 7830) to the longest packet;
any answer to that is enough, since servers that read no more than 512 bytes answer FORMERR.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from xdplb.health.check import ProbeEnded
from xdplb.health.datagrams import MOST_BYTES, UDP_HEADER, open_datagrams, payload_bytes
from xdplb.health.expect import found
from xdplb.health.kinds import Dns
from xdplb.health.probe import ProbeFailed, Steps, Target, phrase
from xdplb.health.sockets import connect, open_socket
from xdplb.model import Check

_EDNS_BYTES = 1232  # of an answer, that we take over UDP: what no path fragments (the DNS flag day of 2020)
_MOST_UDP_BYTES = 4096  # of an answer, from servers that do not mind what we asked for
_MOST_RECORDS = 64  # of an answer: more of them, made to mean harm, take a second to read
_SHORT = 256  # bytes of an answer, which are read within a few milliseconds whatever they are
_OPTION_HEADER = 4  # of EDNS, bytes (RFC 6891, 6.1.2)
_HEADER, _TRUNCATED = 12, 0x02  # of a message, bytes; the flag TC in its third byte (RFC 1035, 4.1.1)
_MOST_ANSWERS = 64  # over UDP, that are looked at
_SHOWN = 100  # characters of an answer, in a cause


async def ask(check: Check, target: Target, steps: Steps) -> ProbeEnded:
    """Ask, over UDP, and over TCP if the answer does not fit."""
    assert isinstance(check.ask, Dns)
    room = payload_bytes(target, UDP_HEADER)
    question = _question(check.ask, min(room or _EDNS_BYTES, _EDNS_BYTES))
    steps.waiting_for = "an answer"
    with open_datagrams(target, steps) as opened:
        answer = await _over_udp(opened, question, steps)
        if answer.flags & dns.flags.TC:
            steps.note("the answer is truncated: asked again over TCP")
            answer = await _over_tcp(target, question, steps)
        text = _judge(check.ask, answer)
        if check.full_size and room:
            padded = _question(check.ask, min(room, _EDNS_BYTES), room)
            steps.waiting_for = f"packets of {target.packet_bytes} bytes do not get through, small ones do: an answer"
            await _over_udp(opened, padded, steps)
    return ProbeEnded(True, f"dns {target}: {text} in {steps.took_ms:.1f} ms")


class _Question(NamedTuple):
    """A question without id, which every use chooses, and its bytes after the id."""

    rrsets: list[dns.rrset.RRset]
    after_id: bytes


@functools.lru_cache(maxsize=1024)  # building one takes as long as all else of a probe
def _question(asked: Dns, edns_bytes: int, size: int = 0) -> _Question:
    """Return a question; with `size`, padded to a message of so many bytes. Raises ProbeFailed."""
    try:
        message = dns.message.make_query(asked.name, asked.type, use_edns=0, payload=edns_bytes)
    except dns.exception.DNSException as error:
        raise ProbeFailed(f"{asked.name!r} {asked.type} cannot be asked: {error}") from None
    space = size - len(message.to_wire()) - _OPTION_HEADER
    if space >= 0:
        padding = dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(space))
        message.use_edns(0, payload=edns_bytes, options=[padding])
    return _Question(message.question, message.to_wire(max_size=MOST_BYTES)[2:])


async def _over_udp(opened: socket.socket, question: _Question, steps: Steps) -> dns.message.Message:
    """Ask and return the answer to that; what answers something else is passed over."""
    loop, question_id, before = asyncio.get_running_loop(), secrets.token_bytes(2), steps.waiting_for
    await loop.sock_sendall(opened, question_id + question.after_id)
    steps.note("asked", sent=2 + len(question.after_id))
    for _ in range(_MOST_ANSWERS):
        await asyncio.sleep(0)  # sock_recv does not wait when there is something: no other task, no timeout would run
        found = await loop.sock_recv(opened, MOST_BYTES)
        steps.note("received", received=len(found))
        answer = "is too long" if len(found) > _MOST_UDP_BYTES else await _read(question, question_id, found)
        if isinstance(answer, dns.message.Message):
            return answer
        steps.waiting_for = f"{before} (what came {answer})"
    raise ProbeFailed(f"{_MOST_ANSWERS} answers, none of them right: the last {answer}")


async def _read(question: _Question, question_id: bytes, found: bytes) -> dns.message.Message | str:
    """Do what _answer does; a long one, which may take a quarter of a second, beside everything else."""
    if len(found) <= _SHORT:
        return _answer(question, question_id, found)
    return await asyncio.to_thread(_answer, question, question_id, found)


def _answer(question: _Question, question_id: bytes, found: bytes) -> dns.message.Message | str:
    """Read an answer to this question; or return what is wrong with it."""
    if len(found) < _HEADER or found[:2] != question_id:
        return "has another id"
    truncated = bool(found[2] & _TRUNCATED)  # it may end anywhere
    if int.from_bytes(found[4:6]) > 1 or sum(struct.unpack_from(">3H", found, 6)) > _MOST_RECORDS:
        return "is too long"
    try:
        answer = dns.message.from_wire(found, question_only=True, ignore_trailing=True)
        if not answer.flags & dns.flags.QR:
            return "is a question"
        brief = truncated or answer.rcode() != dns.rcode.NOERROR  # such may come without the question
        if answer.question != question.rrsets and not (brief and not answer.question):
            return "answers another question"
        return answer if truncated else dns.message.from_wire(found, ignore_trailing=True)
    except dns.exception.DNSException as error:
        return f"cannot be read: {error}"


async def _over_tcp(target: Target, question: _Question, steps: Steps) -> dns.message.Message:
    """Ask again over TCP (RFC 7766): each message has its length in front."""
    loop, question_id = asyncio.get_running_loop(), secrets.token_bytes(2)
    wire = question_id + question.after_id
    try:
        with open_socket(target, socket.SOCK_STREAM) as opened:
            await connect(opened, target, steps)
            await loop.sock_sendall(opened, len(wire).to_bytes(2) + wire)
            steps.waiting_for = "an answer over TCP"
            found = await _receive(opened, int.from_bytes(await _receive(opened, 2)))
    except ConnectionError as error:
        raise ProbeFailed(f"the answer is truncated, and over TCP: {phrase(error)}") from None
    steps.note("received over TCP", received=len(found))
    answer = await _read(question, question_id, found)
    if isinstance(answer, str):
        raise ProbeFailed(f"the answer is truncated, and what came over TCP {answer}")
    return answer


async def _receive(opened: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        await asyncio.sleep(0)  # as above
        more = await asyncio.get_running_loop().sock_recv(opened, size - len(found))
        if not more:
            raise ProbeFailed("the answer is truncated, and over TCP: closed without one")
        found += more
    return found


def _judge(asked: Dns, answer: dns.message.Message) -> str:
    """Return what the cause shows of a good answer. Raises ProbeFailed."""
    if answer.rcode() != dns.rcode.NOERROR:
        raise ProbeFailed(f"{dns.rcode.to_text(answer.rcode())} for {asked.name} {asked.type}")
    texts = [record.to_text() for rrset in answer.answer for record in rrset]
    if asked.expect is None:
        return _shown(texts) or f"no {asked.type} record of {asked.name}"
    if not texts:
        raise ProbeFailed(f"there is no {asked.type} record of {asked.name}")
    right = next((text for text in texts if found(asked.expect, text)), None)
    if right is None:
        raise ProbeFailed(f"{asked.expect!r} is in none of the answers: {_shown(texts)}")
    return _shown([right])


def _shown(texts: Sequence[str]) -> str:
    text = ", ".join(texts)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
