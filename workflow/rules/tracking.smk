"""The MLflow mirror. One job creates the database, so that no two race for it; publishing never fails the pipeline."""


rule track_init:
    output:
        touch("results/tracking/ready"),
    params:
        studies=lambda wc: sorted(CATALOG.names("studies")),
    log:
        "logs/tracking/init.log",
    shell:
        "nnn-bench track init > {log} 2>&1"


rule track:
    input:
        "results/tracking/ready",
        "results/comparisons/{suite}/{study}.json",
        lambda wc: measured_for(wc.suite, wc.study),
    output:
        "results/tracking/{suite}/{study}.published",
    params:
        source=closure_hash("nnn_bench.tracking.mirror"),
    log:
        "logs/tracking/{suite}.{study}.log",
    shell:
        "nnn-bench track publish {wildcards.suite} {wildcards.study} --output {output} > {log} 2>&1"
