"""`topics`: lists and shows the topics that a broker serves, checks the SubscriptionTopic files of a folder,
and tries one on the last changes.
"""

from typing import Annotated

import typer

from broker.cli import topic_check, topic_trial
from broker.cli.broker_client import DEFAULT_BASE, BaseOption, BrokerClient
from broker.cli.output import JsonOption, WideOption, print_record, print_rows
from broker.cli.topic_values import TopicDetails, TopicRow
from broker.errors import ConfigurationError

app = typer.Typer(
    help="List and show the topics of a broker, and check and try topic files.\n\n"
    "Example:\n\n    fhir-broker topics list",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command("list")
def list_(base: BaseOption = DEFAULT_BASE, *, as_json: JsonOption = False, wide: WideOption = False) -> None:
    """List the topics that a Subscription can name: the types they are about, their filters, and the
    elements to which they limit resources.

    Examples:

        fhir-broker topics list

        fhir-broker topics list --json
    """
    with BrokerClient(base, "system/SubscriptionTopic.rs") as broker:
        rows = [TopicRow.of(document) for document in broker.search("SubscriptionTopic")]
    print_rows(rows, TopicRow, "topic", as_json=as_json, wide=wide)


@app.command()
def show(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="The id or the URL of the topic.")],
    base: BaseOption = DEFAULT_BASE,
    *,
    as_json: JsonOption = False,
    wide: WideOption = False,
) -> None:
    """Show one topic: what triggers it, which filters it offers, and what its notifications carry.

    Examples:

        fhir-broker topics show vital-signs

        fhir-broker topics show http://fhir-broker.org/topics/vital-signs --json
    """
    with BrokerClient(base, "system/SubscriptionTopic.rs") as broker:
        if ":" in topic:
            url, _, version = topic.partition("|")
            found = list(broker.search("SubscriptionTopic", url=url, version=version))
        else:
            found = [broker.get(f"SubscriptionTopic/{topic}")]
    if not found:
        raise ConfigurationError(f"The broker has no topic {topic}. Run `fhir-broker topics list`.")
    print_record(TopicDetails.of(found[-1]), as_json=as_json, wide=wide, json_only="document")


app.command("check")(topic_check.check)
app.command("try")(topic_trial.try_out)
