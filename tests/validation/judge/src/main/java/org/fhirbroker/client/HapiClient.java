package org.fhirbroker.client;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.api.MethodOutcome;
import ca.uhn.fhir.rest.api.PreferReturnEnum;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.gclient.StringClientParam;
import ca.uhn.fhir.rest.gclient.TokenClientParam;
import ca.uhn.fhir.rest.server.exceptions.PreconditionFailedException;
import ca.uhn.fhir.rest.server.exceptions.ResourceGoneException;
import com.sun.net.httpserver.HttpServer;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.hl7.fhir.instance.model.api.IBaseBundle;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r4.model.CapabilityStatement;
import org.hl7.fhir.r4.model.CodeType;
import org.hl7.fhir.r4.model.Extension;
import org.hl7.fhir.r4.model.Identifier;
import org.hl7.fhir.r4.model.Meta;
import org.hl7.fhir.r4.model.Observation;
import org.hl7.fhir.r4.model.Parameters;
import org.hl7.fhir.r4.model.Patient;
import org.hl7.fhir.r4.model.StringType;

/**
 * HAPI's generic client at the broker, with its defaults: it reads the metadata, registers an R4 backport and an R5
 * Subscription, searches them, creates conditionally, updates under If-Match, and receives a notification, which
 * HAPI's parser reads.
 *
 * <p>Arguments: the broker's URL and the url of the topic. Prints one line a step; an exception ends the process.
 */
public final class HapiClient {
  private static final String BACKPORT = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
  private static final String SYSTEM = "urn:fhirbroker:hapi";

  private final String broker;
  private final String topic;
  private final BlockingQueue<String> received = new LinkedBlockingQueue<>();

  private HapiClient(String broker, String topic) {
    this.broker = broker;
    this.topic = topic;
  }

  public static void main(String[] arguments) {
    int code = 1;
    try {
      new HapiClient(arguments[0], arguments[1]).run();
      code = 0;
    } catch (Exception | AssertionError error) {
      error.printStackTrace();
    }
    System.exit(code); // the threads of the HTTP server would keep the process
  }

  private void run() throws Exception {
    HttpServer receiver = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    receiver.createContext("/", exchange -> {
      received.add(new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8));
      exchange.sendResponseHeaders(200, -1);
      exchange.close();
    });
    receiver.start();
    String endpoint = "http://127.0.0.1:" + receiver.getAddress().getPort();
    IGenericClient r4 = client(FhirContext.forR4(), "r4");
    IGenericClient r5 = client(FhirContext.forR5(), "r5");
    String atR4 = registerR4(r4, endpoint + "/r4");
    String atR5 = registerR5(r5, endpoint + "/r5");
    resources(r4);
    notifications(r4, r5);
    delete(r4, atR4);
    r5.delete().resourceById("Subscription", atR5).execute();
    done("deletes the subscriptions");
  }

  private IGenericClient client(FhirContext context, String release) {
    context.getRestfulClientFactory().setSocketTimeout(60_000);
    // with its defaults, the client reads the metadata before its first request
    IGenericClient client = context.newRestfulGenericClient(broker + "/" + release);
    client.setEncoding(EncodingEnum.JSON); // adds _format=json to every URL
    client.setPrettyPrint(true); // adds _pretty=true
    return client;
  }

  private String registerR4(IGenericClient client, String endpoint) throws Exception {
    CapabilityStatement capabilities = client.capabilities().ofType(CapabilityStatement.class).execute();
    check(capabilities.getRestFirstRep().getResource().stream().anyMatch(each -> "Subscription".equals(each.getType())),
        "the metadata lists Subscription");
    org.hl7.fhir.r4.model.Subscription subscription = new org.hl7.fhir.r4.model.Subscription();
    subscription.setMeta(new Meta().addProfile(BACKPORT + "backport-subscription"));
    subscription.setStatus(org.hl7.fhir.r4.model.Subscription.SubscriptionStatus.REQUESTED);
    subscription.setReason("HAPI's generic client");
    subscription.setCriteria(topic);
    subscription.getCriteriaElement().addExtension(
        new Extension(BACKPORT + "backport-filter-criteria", new StringType("Observation?patient=Patient/hapi")));
    subscription.getChannel().setType(org.hl7.fhir.r4.model.Subscription.SubscriptionChannelType.RESTHOOK)
        .setEndpoint(endpoint).setPayload("application/fhir+json");
    subscription.getChannel().getPayloadElement().addExtension(
        new Extension(BACKPORT + "backport-payload-content", new CodeType("full-resource")));
    MethodOutcome outcome = client.create().resource(subscription).prefer(PreferReturnEnum.REPRESENTATION).execute();
    check(Boolean.TRUE.equals(outcome.getCreated()), "an R4 Subscription is created");
    String id = outcome.getId().getIdPart();
    until("the R4 Subscription is active", () -> client.read().resource(org.hl7.fhir.r4.model.Subscription.class)
        .withId(id).execute().getStatus() == org.hl7.fhir.r4.model.Subscription.SubscriptionStatus.ACTIVE);
    org.hl7.fhir.r4.model.Bundle found = client.search().forResource(org.hl7.fhir.r4.model.Subscription.class)
        .where(new TokenClientParam("status").exactly().code("active"))
        .and(new StringClientParam("url").matches().value(endpoint))
        .count(5).returnBundle(org.hl7.fhir.r4.model.Bundle.class).execute();
    check(found.getEntry().size() == 1 && id.equals(found.getEntryFirstRep().getResource().getIdElement().getIdPart()),
        "a search finds the R4 Subscription");
    org.hl7.fhir.r4.model.Bundle posted = client.search().forResource(org.hl7.fhir.r4.model.Subscription.class)
        .where(new TokenClientParam("status").exactly().code("active")).usingStyle(
            ca.uhn.fhir.rest.api.SearchStyleEnum.POST)
        .returnBundle(org.hl7.fhir.r4.model.Bundle.class).execute();
    check(!posted.getEntry().isEmpty(), "a search by POST finds the R4 Subscription");
    return id;
  }

  private String registerR5(IGenericClient client, String endpoint) throws Exception {
    org.hl7.fhir.r5.model.Subscription subscription = new org.hl7.fhir.r5.model.Subscription();
    subscription.setStatus(org.hl7.fhir.r5.model.Enumerations.SubscriptionStatusCodes.REQUESTED);
    subscription.setTopic(topic).setEndpoint(endpoint).setContentType("application/fhir+json");
    subscription.setContent(org.hl7.fhir.r5.model.Subscription.SubscriptionPayloadContent.FULLRESOURCE);
    subscription.setChannelType(new org.hl7.fhir.r5.model.Coding(
        "http://terminology.hl7.org/CodeSystem/subscription-channel-type", "rest-hook", "Rest Hook"));
    subscription.addFilterBy().setResourceType("Observation").setFilterParameter("patient").setValue("Patient/hapi");
    MethodOutcome outcome = client.create().resource(subscription).execute();
    String id = outcome.getId().getIdPart();
    until("the R5 Subscription is active", () -> client.read().resource(org.hl7.fhir.r5.model.Subscription.class)
        .withId(id).execute().getStatus() == org.hl7.fhir.r5.model.Enumerations.SubscriptionStatusCodes.ACTIVE);
    org.hl7.fhir.r5.model.Bundle found = client.search().forResource(org.hl7.fhir.r5.model.Subscription.class)
        .where(new StringClientParam("topic").matches().value(topic))
        .returnBundle(org.hl7.fhir.r5.model.Bundle.class).execute();
    check(found.getEntry().stream().anyMatch(each -> id.equals(each.getResource().getIdElement().getIdPart())),
        "a search by topic finds the R5 Subscription");
    return id;
  }

  private void resources(IGenericClient client) {
    Patient patient = new Patient();
    patient.setId("hapi");
    patient.setActive(true);
    patient.addIdentifier(new Identifier().setSystem(SYSTEM).setValue("7"));
    client.update().resource(patient).execute();
    Patient other = new Patient();
    other.addIdentifier(new Identifier().setSystem(SYSTEM).setValue("8"));
    MethodOutcome created = conditionalCreate(client, other);
    MethodOutcome again = conditionalCreate(client, other);
    check(created.getId().getIdPart().equals(again.getId().getIdPart()), "a conditional create finds the Patient");
    Patient read = client.read().resource(Patient.class).withId(created.getId().getIdPart()).execute();
    check(read.getIdElement().hasVersionIdPart(), "a read has the version");
    read.setActive(false);
    client.update().resource(read).withId(read.getIdElement().toUnqualifiedVersionless()).execute();
    check(!client.read().resource(Patient.class).withId(created.getId().getIdPart()).execute().getActive(),
        "an update is read back");
    try {
      // the version in the id becomes If-Match
      client.update().resource(read).withId(read.getIdElement().withVersion("1"))
          .withAdditionalHeader("If-Match", "W/\"1\"").execute();
      throw new AssertionError("an update of an old version succeeded");
    } catch (PreconditionFailedException expected) {
      done("an update of an old version is refused");
    }
    Patient conditional = new Patient();
    conditional.setActive(true).addIdentifier(new Identifier().setSystem(SYSTEM).setValue("9"));
    MethodOutcome updated = client.update().resource(conditional).conditional()
        .where(Patient.IDENTIFIER.exactly().systemAndIdentifier(SYSTEM, "9")).execute();
    MethodOutcome repeated = client.update().resource(conditional).conditional()
        .where(Patient.IDENTIFIER.exactly().systemAndIdentifier(SYSTEM, "9")).execute();
    check(updated.getId().getIdPart().equals(repeated.getId().getIdPart()), "a conditional update finds the Patient");
    org.hl7.fhir.r4.model.Bundle transaction = new org.hl7.fhir.r4.model.Bundle();
    transaction.setType(org.hl7.fhir.r4.model.Bundle.BundleType.TRANSACTION);
    transaction.addEntry().setResource(other).getRequest().setUrl("Patient")
        .setMethod(org.hl7.fhir.r4.model.Bundle.HTTPVerb.POST).setIfNoneExist("identifier=" + SYSTEM + "|8");
    org.hl7.fhir.r4.model.Bundle answer = client.transaction().withBundle(transaction).execute();
    check(answer.getEntryFirstRep().getResponse().getStatus().startsWith("200"), "a transaction is answered");
  }

  private MethodOutcome conditionalCreate(IGenericClient client, Patient patient) {
    return client.create().resource(patient).conditional()
        .where(Patient.IDENTIFIER.exactly().systemAndIdentifier(SYSTEM, "8")).execute();
  }

  private void notifications(IGenericClient r4, IGenericClient r5) throws Exception {
    Observation reading = new Observation();
    reading.setStatus(Observation.ObservationStatus.FINAL);
    reading.addCategory().addCoding().setCode("vital-signs")
        .setSystem("http://terminology.hl7.org/CodeSystem/observation-category");
    reading.getCode().addCoding().setSystem("http://loinc.org").setCode("8867-4").setDisplay("Heart rate");
    reading.getSubject().setReference("Patient/hapi");
    r4.create().resource(reading).execute();
    Map<FhirContext, Class<? extends IBaseBundle>> bundles = Map.of(
        r4.getFhirContext(), org.hl7.fhir.r4.model.Bundle.class, r5.getFhirContext(), org.hl7.fhir.r5.model.Bundle.class);
    int events = 0;
    while (events < bundles.size()) {
      String body = received.poll(60, TimeUnit.SECONDS);
      check(body != null, "a notification arrives");
      boolean isR5 = !body.contains("backport-subscription-notification-r4");
      FhirContext context = isR5 ? r5.getFhirContext() : r4.getFhirContext();
      IBaseBundle bundle = context.newJsonParser()
          .setParserErrorHandler(new ca.uhn.fhir.parser.StrictErrorHandler()).parseResource(bundles.get(context), body);
      List<IBaseResource> resources = ca.uhn.fhir.util.BundleUtil.toListOfResources(context, bundle);
      if (resources.size() > 1) {
        events++;
        check("Observation".equals(context.getResourceType(resources.get(1))), "the event carries the Observation");
      }
    }
    org.hl7.fhir.r4.model.Bundle statuses = r4.operation().onType("Subscription").named("$status")
        .withNoParameters(Parameters.class).useHttpGet().returnResourceType(org.hl7.fhir.r4.model.Bundle.class).execute();
    check(!statuses.getEntry().isEmpty(), "$status answers for all subscriptions");
  }

  private void delete(IGenericClient client, String id) {
    client.delete().resourceById("Subscription", id).execute();
    try {
      client.read().resource(org.hl7.fhir.r4.model.Subscription.class).withId(id).execute();
      throw new AssertionError("a deleted Subscription is read");
    } catch (ResourceGoneException expected) {
      done("a deleted Subscription is gone");
    }
  }

  private interface Condition {
    boolean holds();
  }

  private static void until(String what, Condition condition) throws InterruptedException {
    for (int n = 0; n < 600; n++) {
      if (condition.holds()) {
        done(what);
        return;
      }
      Thread.sleep(100);
    }
    throw new AssertionError("not within a minute: " + what);
  }

  private static void check(boolean holds, String what) {
    if (!holds) {
      throw new AssertionError("failed: " + what);
    }
    done(what);
  }

  private static void done(String what) {
    System.out.println("HAPI client: " + what);
  }
}
