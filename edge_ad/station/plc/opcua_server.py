"""asyncua's server, with what it lets through kept out.

asyncua lets a client open a channel without security whatever the endpoints say, and asks for a certificate only where
the client chose to send one with its session. So this looks at every request: without a channel that is signed by a
trusted certificate nothing is answered but which endpoints there are. It also limits what one client can take.
Written for asyncua 2.1; tests/station/plc/test_opcua_security.py tries each of these doors.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

from asyncua import Server, ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto import uacrypto
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.internal_server import InternalServer
from asyncua.server.uaprocessor import UaProcessor

from edge_ad.station.plc.opcua_security import Identity, Trust, Users

_IDS = ua.ObjectIds
_ANYBODY = {  # these may be asked by anybody, without a session
    ua.NodeId(_IDS.GetEndpointsRequest_Encoding_DefaultBinary),
    ua.NodeId(_IDS.FindServersRequest_Encoding_DefaultBinary),
    ua.NodeId(_IDS.CloseSecureChannelRequest_Encoding_DefaultBinary),
}
_NEVER = {  # the station is no discovery server, and nobody changes its nodes
    ua.NodeId(getattr(_IDS, f"{name}Request_Encoding_DefaultBinary"))
    for name in ("RegisterServer", "RegisterServer2", "AddNodes", "DeleteNodes", "AddReferences", "DeleteReferences")
}
_CREATE = ua.NodeId(_IDS.CreateSessionRequest_Encoding_DefaultBinary)
_MESSAGE = 2**20  # bytes; requests to a station are small
_CHUNK = 65535
_SESSION_MS = 60_000.0  # a client that is silent for so long is gone
_ACTIVATION_S = 10.0
_SUBSCRIPTIONS = 4  # for each session
_MONITORED_QUEUE = 1000
_PENDING = 2000  # requests of a connection; asyncua's client sends hundreds at once to learn the types

_log = logging.getLogger("edge_ad.station")


class Guarded:
    """What of the link's options the server needs.

    Attributes:
        trust: None without security.
        users: None where nobody must say a name.
        sessions: at once, at most.
        refused: called with a text for each client that is refused.
    """

    def __init__(self, trust: Trust | None, users: Users | None, sessions: int, refused: Callable[[str], None]) -> None:
        self.trust, self.users, self.sessions, self.refused = trust, users, sessions, refused

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        """asyncua's question who it is; nobody is an administrator."""
        if self.users is not None and not self.users.knows(username, password):
            self.refused("a client is refused: its user or its password is wrong")
            return None
        return User(role=UserRole.User, name=username)


class _Internal(InternalServer):
    def __init__(self, guard: Guarded) -> None:
        super().__init__(user_manager=guard)
        self.guard = guard
        self.allow_remote_admin = False
        self.max_session_timeout_ms = _SESSION_MS
        self.max_pending_activation_seconds = _ACTIVATION_S
        self.max_connections = 2 * guard.sessions + 4  # some ask only which endpoints there are
        self.max_subscriptions = _SUBSCRIPTIONS * guard.sessions
        self.max_pending_messages_per_connection = _PENDING
        self.max_monitored_item_queue_size = _MONITORED_QUEUE
        self.max_unacked_messages_per_subscription = 100
        token = ua.AnonymousIdentityToken if guard.users is None else ua.UserNameIdentityToken
        self.supported_tokens = (token,)

    def create_session(self, name: str, user: User | None = None, external: bool = False) -> Any:
        if external and len(self._external_sessions) >= self.guard.sessions:
            self.guard.refused(f"a client is refused: {self.guard.sessions} sessions are open, and no more may be")
            raise ServiceError(ua.StatusCodes.BadTooManySessions)
        session = super().create_session(name, user or User(role=UserRole.Anonymous), external)
        if external:  # asyncua counts tokens up, so that anybody would know the next one
            self.unregister_external_session(session)
            session.auth_token = ua.NodeId(uuid.uuid4(), 0)
            self.register_external_session(session)
        return session


class _Processor(UaProcessor):
    """Of one connection."""

    session: Any
    _peer: tuple[bytes, Any] = (b"", None)  # its certificate as it came, and read

    def send_response(self, *given: Any, **more: Any) -> None:
        if not self._transport.is_closing():  # else asyncio would log each answer that nobody waits for
            super().send_response(*given, **more)

    async def _process_message(self, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:
        guard: Guarded = self.iserver.guard
        if typeid in _NEVER:
            raise ServiceError(ua.StatusCodes.BadServiceUnsupported)
        if typeid not in _ANYBODY:
            if guard.trust is not None:
                self._check(guard.trust)
            activated = self.session is not None and self.session.is_activated()
            if not activated and typeid not in _BEFORE:
                raise ServiceError(ua.StatusCodes.BadSessionNotActivated)
        if typeid == _CREATE and self.session is not None:  # asyncua would forget the one before, which stays open
            await self.session.close_session(True)
            self.session = None
        return await super()._process_message(typeid, requesthdr, seqhdr, body)

    def _check(self, trust: Trust) -> None:
        """Each request anew: who is not trusted any more is out."""
        policy = self._connection.security_policy
        if policy.Mode == ua.MessageSecurityMode.None_ or not self._connection.is_open():
            raise ServiceError(ua.StatusCodes.BadSecurityPolicyRejected)
        if self._peer[0] != policy.peer_certificate:
            self._peer = policy.peer_certificate, uacrypto.x509_from_der(policy.peer_certificate)
        if self._peer[1] is None or trust.why_not(self._peer[1]):
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)


_BEFORE = {  # a session that is active
    _CREATE,
    ua.NodeId(_IDS.ActivateSessionRequest_Encoding_DefaultBinary),
    ua.NodeId(_IDS.CloseSessionRequest_Encoding_DefaultBinary),
}


class _Protocol(OPCUAProtocol):
    """A connection. asyncua would keep bytes without end that announce a long message, and close nothing on rubbish."""

    processor: Any
    _buffer: bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.processor is not None:
            self.processor = _Processor(self.iserver, self.transport, self.limits)
            self.processor.set_policies(self.policies)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self._buffer) > _CHUNK + 12 or not _begins_well(self._buffer):
            self._buffer = b""
            if self.transport is not None:
                self.transport.close()

    async def _process_one_msg(self, header: Any, buf: Any) -> bool:
        try:
            return await super()._process_one_msg(header, buf)
        except Exception as error:  # whatever cannot be understood ends the connection, as Part 6 wants it
            _log.debug("OPC UA: a message of %s cannot be read: %s", self.peer_name, error)
            if self.transport is not None:
                self.transport.close()
            return False


def _begins_well(data: bytes) -> bool:
    """Whether what is not yet a whole message may become one."""
    kinds = (b"HEL", b"ACK", b"ERR", b"OPN", b"CLO", b"MSG")
    if not any(data[:3] == kind[: len(data[:3])] for kind in kinds):
        return False
    return len(data) < 8 or 8 <= int.from_bytes(data[4:8], "little") <= _CHUNK


class _Listener(BinaryServer):
    def _make_protocol(self) -> OPCUAProtocol:
        return _Protocol(self.iserver, self._policies, self.clients, self.closing_tasks, self.limits)


class StationServer(Server):
    """The server of a station. Everything runs in one event loop.

    Args:
        own: the station's certificate; None without security.
    """

    def __init__(self, guard: Guarded, own: Identity | None, name: str, uri: str) -> None:
        super().__init__(iserver=_Internal(guard))
        self.name, self.product_uri, self.manufacturer_name = name, "urn:edge-ad", "edge-ad"
        self.application_type = ua.ApplicationType.Server
        self._application_uri, self._own = uri, own
        chunks = -(-_MESSAGE // _CHUNK)
        self.limits = TransportLimits(_CHUNK, _CHUNK, chunks, _MESSAGE)
        secure = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt, ua.SecurityPolicyType.Basic256Sha256_Sign]
        self.set_security_policy([ua.SecurityPolicyType.NoSecurity] if own is None else secure)

    async def init(self, shelf_file: Any = None) -> None:
        await super().init(shelf_file)
        if self._own is not None:
            await self.load_certificate(self._own.certificate, "der")
            await self.load_private_key(self._own.key, format="pem")

    async def listen(self, host: str, port: int) -> None:
        """Begins to listen.

        Raises:
            OSError: it is in use, or is not this PC's.
        """
        await self._setup_server_nodes()
        await self.iserver.start()
        self.bserver = _Listener(self.iserver, host, port, self.limits)
        self.bserver.set_policies(self._policies)
        await self.bserver.start()

    async def say_shutdown(self) -> None:
        """The state of the server, for those who watch it."""
        state = self.get_node(ua.NodeId(ua.ObjectIds.Server_ServerStatus_State))
        await state.write_value(ua.ServerState.Shutdown, ua.VariantType.Int32)

    @property
    def sessions(self) -> int:
        """How many clients are there. Thread-safe."""
        return sum(each.is_activated() for each in list(self.iserver._external_sessions.values()))
