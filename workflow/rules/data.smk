"""Data: fetched, checked, cleaned, split, tokenized; and counted n-grams on the same characters a run may see."""


rule data_set:
    input:
        lambda wc: local_file(CATALOG.dataset(wc.dataset)),
    output:
        ".cache/tokens/{dataset}.{tokenizer}/manifest.json",
    params:
        settings=lambda wc: digest(CATALOG.dataset(wc.dataset).model_dump(mode="json")),
        source=lambda wc: closure_hash("nnn_bench.data.prepare", f"nnn_bench.data.tokenizers.{wc.tokenizer}"),
    log:
        "logs/data/{dataset}.{tokenizer}.log",
    shell:
        "nnn-bench data prepare {wildcards.dataset} --tokenizer {wildcards.tokenizer} > {log} 2>&1"


rule ladder:
    input:
        lambda wc: manifest_of(SPECS[LADDERS[wc.ladder]]),
    output:
        "results/ladders/{ladder}.json",
    params:
        place=lambda wc: " ".join(LADDERS[wc.ladder][:2]),
        source=closure_hash("nnn_bench.data.ngrams"),
    log:
        "logs/ladders/{ladder}.log",
    shell:
        "nnn-bench ladder {params.place} --output {output} > {log} 2>&1"
