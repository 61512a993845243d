package org.fhirbroker.validator;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.parser.IParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.hl7.fhir.instance.model.api.IBaseResource;

/**
 * Writes HL7's own definitions of each release as JSON: StructureDefinitions, ValueSets and CodeSystems.
 *
 * <p>Argument: a folder, which gets the subfolders {@code r4}, {@code r4b}, {@code r5}.
 */
public final class Definitions {
  private static final Map<String, FhirContext> CONTEXTS =
      Map.of("r4", FhirContext.forR4(), "r4b", FhirContext.forR4B(), "r5", FhirContext.forR5());
  private static final Set<String> KINDS = Set.of("StructureDefinition", "ValueSet", "CodeSystem");

  private Definitions() {}

  public static void main(String[] arguments) throws IOException {
    for (String release : List.of("r4", "r4b", "r5")) {
      FhirContext context = CONTEXTS.get(release);
      IParser parser = context.newJsonParser();
      Path folder = Files.createDirectories(Path.of(arguments[0]).resolve(release));
      DefaultProfileValidationSupport support = new DefaultProfileValidationSupport(context);
      support.fetchAllStructureDefinitions(); // these load what the next call gives
      support.fetchValueSet("http://hl7.org/fhir/ValueSet/administrative-gender");
      support.fetchCodeSystem("http://hl7.org/fhir/administrative-gender");
      for (IBaseResource definition : support.fetchAllConformanceResources()) {
        if (KINDS.contains(definition.fhirType())) {
          String name = definition.fhirType() + "-" + definition.getIdElement().getIdPart() + ".json";
          Files.writeString(folder.resolve(name), parser.encodeResourceToString(definition));
        }
      }
    }
  }
}
