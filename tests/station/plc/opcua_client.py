"""asyncua's own client in a process of its own: takes a command a line (JSON) from standard input, and answers each.

`python -m tests.station.plc.opcua_client`
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from asyncua import Client, ua
from asyncua.client.ua_client import UaClient
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

URI = "http://opcfoundation.org/UA/MachineVision"
AUTOMATIC = "VisionStateMachine.AutomaticModeStateMachine"


class Driven:
    """A client that does what it is told."""

    def __init__(self) -> None:
        self.client: Client | None = None
        self.events: list[dict[str, Any]] = []
        self.changes: list[tuple[str, Any]] = []
        self._paths: dict[ua.NodeId, str] = {}

    async def connect(
        self, url: str, mode: str, cert: str = "", key: str = "", uri: str = "", user: str = "", password: str = ""
    ) -> bool:
        client = Client(url, timeout=100, watchdog_intervall=100)  # or it gives up on a busy machine
        if uri:
            client.application_uri = uri
        if user:
            client.set_user(user)
            client.set_password(password)
        if mode != "None":
            await client.set_security(SecurityPolicyBasic256Sha256, cert, key, mode=ua.MessageSecurityMode[mode])
        await client.connect()
        self.client = client
        await client.load_data_type_definitions()
        return True

    async def endpoints(self, url: str) -> list[list[str]]:
        found = await Client(url, timeout=100).connect_and_get_server_endpoints()
        return [[each.SecurityPolicyUri.rpartition("#")[2], each.SecurityMode.name] for each in found]

    async def without_security(self, url: str) -> list[str]:
        """What a client is answered that opens a channel without security, whatever the endpoints say."""
        client = Client(url, timeout=100, watchdog_intervall=100)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        top, found = [ua.NodeId("top", 1)], []
        parameters = ua.CreateSessionParameters()
        parameters.ClientDescription.ApplicationUri = "urn:stranger"
        activation = ua.ActivateSessionParameters()
        activation.UserIdentityToken = ua.AnonymousIdentityToken(PolicyId="anonymous")
        for ask in (
            client.uaclient.read_attributes(top, ua.AttributeIds.BrowseName),
            client.uaclient.create_session(parameters),
            client.uaclient.activate_session(activation),
            client.uaclient.read_attributes(top, ua.AttributeIds.BrowseName),
            client.uaclient.register_server(ua.RegisteredServer()),
        ):
            try:
                await ask
                found.append("answered")
            except ua.UaStatusCodeError as error:
                found.append(ua.StatusCode(error.code).name)
        await client.close_secure_channel()
        client.disconnect_socket()
        return found

    async def connect_with_another(self, url: str, shown: str, **more: str) -> bool:
        """Connects with a certificate, and shows another one, or none, with the session."""
        other = Path(shown).read_bytes() if shown else None
        create = UaClient.create_session

        async def changed(client: Any, parameters: Any) -> Any:
            parameters.ClientCertificate = other
            return await create(client, parameters)

        UaClient.create_session = changed
        try:
            return await self.connect(url, "SignAndEncrypt", **more)
        finally:
            UaClient.create_session = create

    def _node(self, path: str) -> Any:
        assert self.client is not None
        return self.client.get_node(ua.NodeId(path, 1))

    async def read(self, *paths: str) -> list[Any]:
        assert self.client is not None
        values = await self.client.uaclient.read_attributes(
            [ua.NodeId(path, 1) for path in paths], ua.AttributeIds.Value
        )
        return [_plain(value.Value.Value) if value.Value is not None else None for value in values]

    async def call(self, camera: str, path: str, method: str, *args: Any) -> Any:
        given = [_given(each) for each in args]
        return _plain(
            await self._node(f"{camera}.{path}").call_method(ua.NodeId(f"{camera}.{path}.{method}", 1), *given)
        )

    async def job(self, camera: str, part: str, recipe: str = "") -> str:
        ids = [["MeasIdDataType", "m"], ["PartIdDataType", part], ["RecipeIdExternalDataType", recipe]]
        found = await self.call(camera, AUTOMATIC, "StartSingleJob", *ids, ["ProductIdDataType", ""], ["list"])
        assert found[1] == 0
        return str(found[0]["Id"])

    async def outcome(self, camera: str, job: str) -> dict[str, Any]:
        """Polls, as a controller does, until the job has its result."""
        names = ("JobId", "Valid", "Good", "Outcome", "PartId", "ResultId", "Reason", "Score")
        while True:
            found = dict(zip(names, await self.read(*(f"{camera}.Outcome.{name}" for name in names)), strict=True))
            assert found["JobId"] == job
            if found["Valid"]:
                return found
            assert (found["Good"], found["Outcome"], found["ResultId"]) == (False, "", "")
            await asyncio.sleep(0.002)

    async def jobs(self, camera: str, *parts: str) -> list[dict[str, Any]]:
        return [await self.outcome(camera, await self.job(camera, part)) for part in parts]

    async def listen(self, camera: str, *paths: str) -> bool:
        assert self.client is not None
        index = await self.client.get_namespace_index(URI)
        subscription = await self.client.create_subscription(10, self)
        kinds = [ua.NodeId(number, index) for number in (1018, 1019, 1020, 1013, 1023, 1022, 1024)]
        await subscription.subscribe_events(self._node(camera), kinds, queuesize=1000)
        for path in paths:
            self._paths[ua.NodeId(path, 1)] = path
            await subscription.subscribe_data_change(self._node(path), queuesize=1000)
        return True

    async def heard(self, kind: int, count: int = 1) -> list[dict[str, Any]]:
        """Waits for so many events of a type."""
        while True:
            found = [event for event in self.events if event["kind"] == kind]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)

    async def changed(self) -> list[tuple[str, Any]]:
        return self.changes

    def event_notification(self, event: Any) -> None:
        fields = event.get_event_props_as_fields_dict()
        told = {name: _plain(value.Value) for name, value in fields.items()}
        self.events.append({"kind": fields["EventType"].Value.Identifier, **told})

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        self.changes.append((self._paths[node.nodeid], _plain(value)))

    async def browse(self, path: str) -> list[list[str]]:
        found = []
        for child in await self._node(path).get_children():
            name = await child.read_browse_name()
            found.append([str(child.nodeid.Identifier), f"{name.NamespaceIndex}:{name.Name}"])
        return found

    async def disconnect(self) -> bool:
        assert self.client is not None
        await self.client.disconnect()
        return True


def _given(value: Any) -> Any:
    """["PartIdDataType", "a"] is a structure with that id, ["list"] an empty list, ["Int32", 3] a number."""
    if not isinstance(value, list):
        return value
    if value[0] == "list":
        return ua.Variant(value[1:], ua.VariantType.Variant, is_array=True)
    if value[0] in ua.VariantType.__members__:
        return ua.Variant(value[1], ua.VariantType[value[0]])
    return ua.Variant(getattr(ua, value[0])(Id=value[1]), ua.VariantType.ExtensionObject)


def _plain(value: Any) -> Any:
    if isinstance(value, ua.Variant):
        return _plain(value.Value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, ua.LocalizedText):
        return value.Text
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, (ua.NodeId, ua.QualifiedName)):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


async def main() -> None:
    logging.disable(logging.CRITICAL)
    driven = Driven()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        try:
            answer = {"ok": await getattr(driven, told["do"])(*told["args"], **told["more"])}
        except ua.UaStatusCodeError as error:
            answer = {"error": ua.StatusCode(error.code).name}
        except Exception as error:  # the test says what it expects
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["certificate"]:  # FOLDER NAME
        from asyncua.crypto.cert_gen import setup_self_signed_certificate
        from cryptography.x509.oid import ExtendedKeyUsageOID

        folder, name = Path(sys.argv[2]), sys.argv[3]
        asyncio.run(
            setup_self_signed_certificate(
                folder / f"{name}.key.pem",
                folder / f"{name}.der",
                f"urn:{name}",
                "localhost",
                [ExtendedKeyUsageOID.CLIENT_AUTH],
                {"commonName": name},
            )
        )
    else:
        asyncio.run(main())
