package org.fhirbroker.validator;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.ValidationSupportContext;
import ca.uhn.fhir.parser.IParser;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.SingleValidationMessage;
import ca.uhn.fhir.validation.ValidationResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * Judges JSON documents with HL7's validator and prints one tab-separated line per finding: file, severity, location, message.
 *
 * <p>Arguments: a folder with the subfolders {@code r4}, {@code r4b}, {@code r5} of documents, then {@code release=folder} for
 * each folder of definitions (StructureDefinition, ValueSet, CodeSystem, ...) of a release. Ends with the number of judged documents.
 */
public final class Judge {
  private static final Map<String, FhirContext> CONTEXTS =
      Map.of("r4", FhirContext.forR4(), "r4b", FhirContext.forR4B(), "r5", FhirContext.forR5());

  private Judge() {}

  public static void main(String[] arguments) throws IOException {
    Path documents = Path.of(arguments[0]);
    int judged = 0;
    for (String release : List.of("r4", "r4b", "r5")) {
      List<Path> files = jsonFiles(documents.resolve(release));
      if (files.isEmpty()) {
        continue;
      }
      FhirValidator validator = validator(release, List.of(arguments).subList(1, arguments.length));
      for (Path file : files) {
        judged++;
        ValidationResult result;
        try {
          result = validator.validateWithResult(Files.readString(file));
        } catch (RuntimeException error) {
          System.out.printf("%s/%s\tundecided\t\tthe validator failed: %s%n", release, file.getFileName(), error);
          continue;
        }
        for (SingleValidationMessage message : result.getMessages()) {
          String text = message.getMessage().replaceAll("\\s+", " ");
          String location = String.valueOf(message.getLocationString());
          System.out.printf(
              "%s/%s\t%s\t%s\t%s%n", release, file.getFileName(), message.getSeverity().getCode(), location, text);
        }
      }
    }
    System.out.printf("judged\t%d%n", judged);
  }

  private static FhirValidator validator(String release, List<String> definitions) throws IOException {
    FhirContext context = CONTEXTS.get(release);
    PrePopulatedValidationSupport known = new PrePopulatedValidationSupport(context);
    for (String argument : definitions) {
      String[] parts = argument.split("=", 2);
      if (parts[0].equals(release)) {
        addDefinitions(context, known, Path.of(parts[1]));
      }
    }
    ValidationSupportChain chain =
        new ValidationSupportChain(
            new DefaultProfileValidationSupport(context),
            known,
            new CommonCodeSystemsTerminologyService(context),
            new InMemoryTerminologyServerValidationSupport(context),
            new SnapshotGeneratingValidationSupport(context));
    for (IBaseResource definition : known.fetchAllStructureDefinitions()) {
      addSnapshot(chain, definition);
    }
    FhirInstanceValidator instances = new FhirInstanceValidator(chain);
    instances.setAnyExtensionsAllowed(true);
    instances.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    FhirValidator validator = context.newValidator();
    validator.registerValidatorModule(instances);
    return validator;
  }

  /** Profiles of datatypes need their snapshots before the validator asks for them. */
  private static void addSnapshot(ValidationSupportChain chain, IBaseResource definition) {
    if (hasSnapshot(definition)) {
      return;
    }
    try {
      chain.generateSnapshot(new ValidationSupportContext(chain), definition, null, null, null);
    } catch (RuntimeException error) { // then the validator refuses whatever declares the profile
      System.err.printf("no snapshot of %s: %s%n", definition.getIdElement().getValue(), error.getCause());
    }
  }

  private static boolean hasSnapshot(IBaseResource definition) {
    if (definition instanceof org.hl7.fhir.r4.model.StructureDefinition profile) {
      return profile.hasSnapshot();
    }
    if (definition instanceof org.hl7.fhir.r4b.model.StructureDefinition profile) {
      return profile.hasSnapshot();
    }
    return ((org.hl7.fhir.r5.model.StructureDefinition) definition).hasSnapshot();
  }

  private static void addDefinitions(FhirContext context, PrePopulatedValidationSupport known, Path folder)
      throws IOException {
    IParser parser = context.newJsonParser();
    for (Path file : jsonFiles(folder)) {
      IBaseResource resource = parser.parseResource(Files.readString(file));
      known.addResource(resource);
    }
  }

  private static List<Path> jsonFiles(Path folder) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(file -> file.toString().endsWith(".json")).sorted().toList();
    }
  }
}
