"""Names to ask for: every suite, every stage."""


for _suite in SUITES:

    rule:
        name:
            _suite
        input:
            finished(_suite),


rule data:
    input:
        [manifest_of(spec) for spec in MANIFESTS.values()],


rule training:
    input:
        [f"results/trained/{key}.json" for key in JOBS],


rule audits:
    input:
        audits_of(SPECS.values()),


rule rates:
    input:
        rates_of(SPECS.values()),


rule speed:
    input:
        [f"results/measured/{pair}.json" for pair in MEASURED],


rule comparisons:
    input:
        [f"results/comparisons/{suite}/{study}.json" for suite in SUITES for study in STUDIES[suite]],


rule tracking:
    input:
        [f"results/tracking/{suite}/{study}.published" for suite in SUITES for study in STUDIES[suite]],


rule report:
    input:
        [f"reports/{suite}/index.html" for suite in SUITES],
