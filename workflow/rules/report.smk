"""The report of a suite: pages, tables and figures."""


rule report_pages:
    input:
        lambda wc: [f"results/comparisons/{wc.suite}/{study}.json" for study in STUDIES[wc.suite]],
        lambda wc: sorted({file for study in STUDIES[wc.suite] for file in measured_for(wc.suite, study)}),
        lambda wc: rates_of(spec for study in STUDIES[wc.suite] for spec in specs_of(wc.suite, study)),
    output:
        "reports/{suite}/index.html",
        "reports/{suite}/report.md",
        "reports/{suite}/tables/headline.csv",
    params:
        source=closure_hash("nnn_bench.report.build"),
        templates=digest({path.name: path.read_text() for path in sorted(Path(workflow.basedir).glob("nnn_bench/report/templates/*"))}),
    log:
        "logs/reports/{suite}.log",
    shell:
        "nnn-bench report {wildcards.suite} > {log} 2>&1"
