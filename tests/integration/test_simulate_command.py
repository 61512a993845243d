"""`fhir-broker simulate` to standard output, `POST /readings`, the inbox stream and MQTT."""

import json
from pathlib import Path

import httpx

from tests.integration.broker_fixture import until
from tests.integration.commands import Command, run
from tests.integration.mosquitto import running_mosquitto
from tests.ports import free_port

STREAM = (
    "simulate", "--patients", "6", "--count", "5", "--rate", "1000",
    "--start", "2025-03-01T08:00:00Z", "--interval", "60", "--seed", "3",
)  # fmt: skip


def test_standard_output_has_the_same_lines_for_the_same_seed() -> None:
    first, second = (run(*STREAM, "--to", "stdout") for _ in range(2))
    assert first.returncode == 0
    assert first.stdout == second.stdout
    payloads = [json.loads(line) for line in first.stdout.splitlines()]
    assert len(payloads) == 30
    assert {payload["kind"] for payload in payloads} >= {"heart-rate-monitor", "thermometer"}


def test_shares_and_times_that_make_no_sense_are_refused_in_one_line() -> None:
    for options in (
        ("--late", "0.7", "--corrupt", "0.7"),
        ("--start", "yesterday"),
        ("--start", "2025-03-01"),
    ):
        ended = run("simulate", "--to", "stdout", *options)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr


async def test_readings_by_http_inbox_and_mqtt_are_the_same_readings(tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{free_port()}"
    url = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "topics.toml").write_text('[[topic]]\nfilter = "devices/+"\n')
    shared = {"base_url": base, "data_dir": str(tmp_path / "data"), "reading_patients": "create"}
    serve = Command.of_broker(tmp_path, "serve", port=base.rpartition(":")[2], **shared)

    async def count(result: str) -> int:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            pages = [(await client.get(f"{each}/metrics")).text for each in (base, url)]
        lines = "\n".join(pages).splitlines()
        name = f'broker_readings_total{{status="{result}"}} '
        return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))

    async with running_mosquitto(tmp_path) as mosquitto:
        server = f"mqtt://127.0.0.1:{mosquitto.port}"
        mqtt = Command.of_broker(
            tmp_path,
            "mqtt",
            port=url.rpartition(":")[2],
            mqtt_url=server,
            mqtt_topics=str(tmp_path / "topics.toml"),
            **shared,
        )
        with serve:
            await serve.until_ready(base)
            with mqtt:
                await mqtt.until_ready(url)
                ended = run(*STREAM, "--to", "readings", "--base", base)
                assert (ended.returncode, ended.stdout) == (0, "30 readings accepted, 0 not accepted\n")
                assert await count("accepted") == 30
                ended = run(*STREAM, "--to", "inbox", data_dir=shared["data_dir"])
                assert (ended.returncode, ended.stdout) == (0, "30 readings accepted, 0 not accepted\n")

                async def inbox_is_read() -> bool:
                    return await count("duplicate") >= 30  # one may be read twice

                await until(inbox_is_read)
                ended = run(*STREAM, "--to", "mqtt", "--mqtt", server, "--corrupt", "0.2")
                assert ended.returncode == 0, ended.stderr

                async def all_are_read() -> bool:
                    return await count("duplicate") + await count("quarantined") >= 60

                await until(all_are_read)
                assert await count("accepted") == 30
                assert await count("quarantined") > 0


def test_an_mqtt_server_that_does_not_answer_is_named() -> None:
    ended = run("simulate", "--to", "mqtt", "--mqtt", f"mqtt://127.0.0.1:{free_port()}")
    assert ended.returncode == 2
    assert "The MQTT server 127.0.0.1:" in ended.stderr
