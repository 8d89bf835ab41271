"""Rows as each hub schema and each published file has them, made by hand, and the items they have to give."""

from __future__ import annotations

from surpass.data.base import Choice, Completion, Pair


def answers(before: str, *candidates: str, right: int, group: str, title: str = "Proposed answer") -> list:
    return [
        Choice(f"{before}\n{title}: {candidate}", int(place == right), group, before)
        for place, candidate in enumerate(candidates)
    ]


PASSAGE = "Ice moves under its own weight."
ASKED = f"{PASSAGE}\nQuestion: What moves ice?"
TURNS = ["M: Shall we go?", "W: In a minute."]
LETTERED = [{"text": "gravity", "label": "A"}, {"text": "wind", "label": "B"}]
SUPER_MULTIRC = {
    "idx": 0,
    "passage": {
        "text": PASSAGE,
        "questions": [
            {
                "idx": 0,
                "question": "What moves ice?",
                "answers": [
                    {"idx": 0, "text": "weight", "label": 1},
                    {"idx": 1, "text": "wind", "label": 0},
                ],
            },
            {"idx": 1, "question": "Does ice move?", "answers": [{"idx": 2, "text": "yes", "label": 1}]},
        ],
    },
}

CASES: dict[str, tuple[str, dict, list]] = {
    "boolq, hub": (
        "boolq",
        {"question": "does ice move", "answer": True, "passage": PASSAGE},
        [Choice(f"{PASSAGE}\nQuestion: does ice move?", 1, PASSAGE)],
    ),
    "boolq, published": (
        "boolq",
        {"question": "does ice move?", "title": "Glacier", "answer": False, "passage": PASSAGE},
        [Choice(f"{PASSAGE}\nQuestion: does ice move?", 0, PASSAGE)],
    ),
    "boolq, SuperGLUE": (
        "boolq",
        {"question": "does ice move", "passage": f"Glacier -- {PASSAGE}", "idx": 3, "label": 1},
        [Choice(f"{PASSAGE}\nQuestion: does ice move?", 1, PASSAGE)],
    ),
    "boolq, O-LoRA": (
        "boolq",
        {"label": "False", "sentence": f"question: does ice move\npassage: Glacier (ice) -- {PASSAGE}"},
        [Choice(f"{PASSAGE}\nQuestion: does ice move?", 0, PASSAGE)],
    ),
    "cosmos_qa, hub": (
        "cosmos_qa",
        {
            "id": "a",
            "context": PASSAGE,
            "question": "What moves ice?",
            "answer0": "None of the above choices .",
            "answer1": "Wind .",
            "answer2": "Its weight .",
            "answer3": "Fish .",
            "label": 2,
        },
        answers(ASKED, "Wind .", "Its weight .", "Fish .", right=1, group=PASSAGE),
    ),
    "cosmos_qa, none of them": (
        "cosmos_qa",
        {
            "context": PASSAGE,
            "question": "What moves ice?",
            "answer0": "None of the above choices .",
            "answer1": "Wind .",
            "answer2": "Fish .",
            "answer3": "Moss .",
            "label": "0",
        },
        answers(ASKED, "Wind .", "Fish .", "Moss .", right=-1, group=PASSAGE),
    ),
    "cosmos_qa, recast": (
        "cosmos_qa",
        {
            "premise": "One two three four five six seven eight nine ten Eleven twelve thirteen . Why ?",
            "hypothesis": "Because .",
            "gold_label": "entailed",
            "idx": 0,
        },
        [
            Choice(
                "One two three four five six seven eight nine ten Eleven twelve thirteen . Why ?\n"
                "Proposed answer: Because .",
                1,
                "one two three four five six seven eight nine ten eleven twelve",
                "One two three four five six seven eight nine ten Eleven twelve thirteen . Why ?",
            )
        ],
    ),
    "dream, hub": (
        "dream",
        {
            "id": 0,
            "dialogue_id": "5-510",
            "dialogue": TURNS,
            "question": "When?",
            "choice": ["Now.", "Soon.", "Never."],
            "answer": "Soon.",
        },
        answers(
            "M: Shall we go?\nW: In a minute.\nQuestion: When?",
            "Now.",
            "Soon.",
            "Never.",
            right=1,
            group="M: Shall we go?\nW: In a minute.",
        ),
    ),
    "dream, published": (
        "dream",
        {
            "0": TURNS,
            "1": [
                {"question": "When?", "choice": ["Now.", "Soon."], "answer": "Soon."},
                {"question": "Who?", "choice": ["They.", "He."], "answer": "They."},
            ],
            "2": "5-510",
        },
        answers(
            "M: Shall we go?\nW: In a minute.\nQuestion: When?",
            "Now.",
            "Soon.",
            right=1,
            group="M: Shall we go?\nW: In a minute.",
        )
        + answers(
            "M: Shall we go?\nW: In a minute.\nQuestion: Who?",
            "They.",
            "He.",
            right=0,
            group="M: Shall we go?\nW: In a minute.",
        ),
    ),
    "ethics_justice": (
        "ethics_justice",
        {"label": "1", "scenario": "I deserve to be PAID by my boss because I work."},
        [Choice("I deserve to be PAID by my boss because I work.", 1, "i deserve to be paid")],
    ),
    "ethics_deontology": (
        "ethics_deontology",
        {"label": 0, "scenario": "Could you wash up?", "excuse": " No because I hum."},
        [Choice("Could you wash up?\nNo because I hum.", 0, "Could you wash up?")],
    ),
    "ethics_virtue": (
        "ethics_virtue",
        {"label": "1", "scenario": "Jo gave all away. [SEP] generous"},
        [Choice("Jo gave all away.\nTrait: generous", 1, "Jo gave all away.")],
    ),
    "ethics_utilitarianism": (
        "ethics_utilitarianism",
        {"baseline": "I built a castle of sand.", "less_pleasant": "I built a castle of sand. It fell."},
        [
            Choice(
                "First: I built a castle of sand.\nSecond: I built a castle of sand. It fell.",
                1,
                "i built a castle of",
                "I built a castle of sand.\nI built a castle of sand. It fell.",
            ),
            Choice(
                "First: I built a castle of sand. It fell.\nSecond: I built a castle of sand.",
                0,
                "i built a castle of",
                "I built a castle of sand.\nI built a castle of sand. It fell.",
            ),
        ],
    ),
    "anli_r2, hub": (
        "anli_r2",
        {"uid": "u", "premise": PASSAGE, "hypothesis": "Ice moves.", "label": 0, "reason": "It says so."},
        [Choice(f"{PASSAGE}\nStatement: Ice moves.", 1, PASSAGE)],
    ),
    "anli_r2, hub, contradiction": (
        "anli_r2",
        {"uid": "u", "premise": PASSAGE, "hypothesis": "Ice rests.", "label": 2, "reason": ""},
        [Choice(f"{PASSAGE}\nStatement: Ice rests.", 0, PASSAGE)],
    ),
    "anli_r2, published, neutral": (
        "anli_r2",
        {"context": PASSAGE, "hypothesis": "Ice is old.", "label": "n", "model_label": "e", "reason": "?"},
        [Choice(f"{PASSAGE}\nStatement: Ice is old.", 0, PASSAGE)],
    ),
    "anli_r2, published, entailed": (
        "anli_r2",
        {"context": PASSAGE, "hypothesis": "Ice moves.", "label": "e", "model_label": "n"},
        [Choice(f"{PASSAGE}\nStatement: Ice moves.", 1, PASSAGE)],
    ),
    "cola, hub": (
        "cola",
        {"sentence": "Bill coughed.", "label": 1, "idx": 0},
        [Choice("Bill coughed.", 1, "Bill coughed.")],
    ),
    "cola, published": (
        "cola",
        {"source": "gj04", "label": "0", "mark": "*", "sentence": "Bill coughed the."},
        [Choice("Bill coughed the.", 0, "Bill coughed the.")],
    ),
    "sst2, hub": (
        "sst2",
        {"idx": 0, "sentence": "of saucy ", "label": 1},
        [Choice("of saucy", 1, "of saucy")],
    ),
    "sst2, published": (
        "sst2",
        {"sentence": "unflinchingly bleak ", "label": "0"},
        [Choice("unflinchingly bleak", 0, "unflinchingly bleak")],
    ),
    "hellaswag, hub": (
        "hellaswag",
        {
            "ind": 4,
            "ctx": "A man stands. he",
            "endings": ["sits.", "melts.", "is a car.", "sings a car."],
            "label": "0",
            "source_id": "activitynet~v_1",
            "split": "train",
        },
        answers(
            "A man stands. he",
            "sits.",
            "melts.",
            "is a car.",
            "sings a car.",
            right=0,
            group="activitynet~v_1",
            title="Proposed continuation",
        ),
    ),
    "hellaswag, published": (
        "hellaswag",
        {"ctx": "A man stands. he", "endings": ["sits.", "melts."], "label": 1},
        answers(
            "A man stands. he",
            "sits.",
            "melts.",
            right=1,
            group="A man stands. he",
            title="Proposed continuation",
        ),
    ),
    "hellaswag, recast": (
        "hellaswag",
        {"idx": 1, "premise": "A man stands. he", "hypothesis": "sits.", "gold_label": "entailed"},
        [Choice("A man stands. he\nProposed continuation: sits.", 1, "A man stands. he")],
    ),
    "mctaco, hub": (
        "mctaco",
        {
            "sentence": PASSAGE,
            "question": "What moves ice?",
            "answer": "weight",
            "label": 1,
            "category": 2,
        },
        answers(ASKED, "weight", right=0, group=PASSAGE),
    ),
    "mctaco, published": (
        "mctaco",
        {
            "sentence": PASSAGE,
            "question": "What moves ice?",
            "answer": "wind",
            "label": "no",
            "category": "Frequency",
        },
        answers(ASKED, "wind", right=-1, group=PASSAGE),
    ),
    "openbookqa, hub": (
        "openbookqa",
        {
            "id": "7-980",
            "question_stem": "Ice is moved by",
            "choices": {"text": ["gravity", "wind"], "label": ["A", "B"]},
            "answerKey": "B",
        },
        answers("Question: Ice is moved by", "gravity", "wind", right=1, group="Ice is moved by"),
    ),
    "openbookqa, published": (
        "openbookqa",
        {"id": "7-980", "question": {"stem": "Ice is moved by", "choices": LETTERED}, "answerKey": "A"},
        answers("Question: Ice is moved by", "gravity", "wind", right=0, group="Ice is moved by"),
    ),
    "paws": (
        "paws",
        {"id": 1, "sentence1": "From Rome to Bonn", "sentence2": "From Bonn to Rome", "label": 0},
        [Choice("First: From Rome to Bonn\nSecond: From Bonn to Rome", 0, "bonn from rome to")],
    ),
    "quail": (
        "quail",
        {
            "id": "f001_0",
            "context_id": "f001",
            "context": PASSAGE,
            "question": "What moves ice?",
            "answers": ["wind", "not enough information", "weight", "fish"],
            "correct_answer_id": 2,
        },
        answers(ASKED, "wind", "not enough information", "weight", "fish", right=2, group=PASSAGE),
    ),
    "piqa, hub": (
        "piqa",
        {"goal": "melt ice", "sol1": "warm it", "sol2": "praise it", "label": 0},
        answers("Goal: melt ice", "warm it", "praise it", right=0, group="melt ice", title="Proposed way"),
    ),
    "piqa, recast": (
        "piqa",
        {"premise": "melt ice", "hypothesis": "praise it", "gold_label": "not-entailed", "idx": 1},
        answers("Goal: melt ice", "praise it", right=-1, group="melt ice", title="Proposed way"),
    ),
    "quartz, hub": (
        "quartz",
        {
            "id": "QRQA-1",
            "question": "What moves ice?",
            "choices": {"text": ["gravity", "wind"], "label": ["A", "B"]},
            "answerKey": "A",
            "para": PASSAGE,
            "para_id": "P-1",
        },
        answers(ASKED, "gravity", "wind", right=0, group=PASSAGE),
    ),
    "quartz, published": (
        "quartz",
        {
            "id": "QRQA-1",
            "answerKey": "B",
            "para": PASSAGE,
            "question": {"stem": "What moves ice?", "choices": LETTERED},
        },
        answers(ASKED, "gravity", "wind", right=1, group=PASSAGE),
    ),
    "sciq": (
        "sciq",
        {
            "question": "What moves ice?",
            "distractor3": "fish",
            "distractor1": "wind",
            "distractor2": "moss",
            "correct_answer": "gravity",
            "support": PASSAGE,
        },
        answers(
            "Question: What moves ice?", "gravity", "wind", "moss", "fish", right=0, group="What moves ice?"
        ),
    ),
    "sciq_support": (
        "sciq_support",
        {
            "question": "What moves ice?",
            "distractor3": "fish",
            "distractor1": "wind",
            "distractor2": "moss",
            "correct_answer": "gravity",
            "support": PASSAGE,
        },
        answers(ASKED, "gravity", "wind", "moss", "fish", right=0, group="What moves ice?"),
    ),
    "social_iqa, hub": (
        "social_iqa",
        {
            "context": PASSAGE,
            "question": "What moves ice?",
            "answerA": "wind",
            "answerB": "moss",
            "answerC": "weight",
            "label": "3",
        },
        answers(ASKED, "wind", "moss", "weight", right=2, group=PASSAGE),
    ),
    "social_iqa, published": (
        "social_iqa",
        {
            "context": PASSAGE,
            "question": "What moves ice?",
            "answerA": "weight",
            "answerB": "moss",
            "answerC": "wind",
            "correct": "A",
        },
        answers(ASKED, "weight", "moss", "wind", right=0, group=PASSAGE),
    ),
    "social_iqa, recast": (
        "social_iqa",
        {"premise": PASSAGE, "hypothesis": "Others feel cold", "gold_label": "entailed", "idx": 0},
        answers(PASSAGE, "Others feel cold", right=0, group=PASSAGE),
    ),
    "multirc, hub": (
        "multirc",
        {
            "paragraph": PASSAGE,
            "question": "What moves ice?",
            "answer": "wind",
            "idx": {"paragraph": 0, "question": 0, "answer": 1},
            "label": 0,
        },
        answers(ASKED, "wind", right=-1, group=PASSAGE),
    ),
    "multirc, published": (
        "multirc",
        SUPER_MULTIRC,
        answers(ASKED, "weight", "wind", right=0, group=PASSAGE)
        + answers(f"{PASSAGE}\nQuestion: Does ice move?", "yes", right=0, group=PASSAGE),
    ),
    "wic": (
        "wic",
        {
            "word": "Run",
            "sentence1": "Run rogue.",
            "sentence2": "She ran home.",
            "idx": 2,
            "label": False,
            "start1": 0,
        },
        [Choice("First: Run rogue.\nSecond: She ran home.\nWord: Run", 0, "run")],
    ),
    "twitter_sentiment": (
        "twitter_sentiment",
        {"text": "so happy today", "label": 1},
        [Choice("so happy today", 1, "so happy today")],
    ),
    "amazon_polarity, hub": (
        "amazon_polarity",
        {"label": 1, "title": "Fine", "content": "It works."},
        [Choice("Fine\nIt works.", 1, "It works.")],
    ),
    "amazon_polarity, published": (
        "amazon_polarity",
        {"class": "1", "title": "", "content": "It broke."},
        [Choice("It broke.", 0, "It broke.")],
    ),
    "hh": (
        "hh",
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Ice?\n\nAssistant: It melts.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Ice?\n\nAssistant: It mews.",
        },
        [
            Pair(
                "Human: Hi\n\nAssistant: Hello.\n\nHuman: Ice?\n\nAssistant:",
                " It melts.",
                " It mews.",
                "Human: Hi",
            )
        ],
    ),
    "hh, one completion begins the other": (
        "hh",
        {
            "chosen": "\n\nHuman: Ice?\n\nAssistant: It melts. Always.",
            "rejected": "\n\nHuman: Ice?\n\nAssistant: It melts.",
        },
        [Pair("Human: Ice?\n\nAssistant:", " It melts. Always.", " It melts.", "Human: Ice?")],
    ),
    "shp, A": (
        "shp",
        {"post_id": "x1", "history": "Ice?", "human_ref_A": "Cold.", "human_ref_B": "Hot.", "labels": 1},
        [Pair("Post: Ice?\n\nComment:", " Cold.", " Hot.", "x1")],
    ),
    "shp, B": (
        "shp",
        {"post_id": "x1", "history": "Ice?", "human_ref_A": "Cold.", "human_ref_B": "Hot.", "labels": 0},
        [Pair("Post: Ice?\n\nComment:", " Hot.", " Cold.", "x1")],
    ),
    "ultrafeedback, hub": (
        "ultrafeedback",
        {
            "prompt": "Ice?",
            "prompt_id": "p",
            "chosen": [{"content": "Ice?", "role": "user"}, {"content": "Cold.", "role": "assistant"}],
            "rejected": [{"content": "Ice?", "role": "user"}, {"content": "Hot.", "role": "assistant"}],
            "score_chosen": 8.0,
        },
        [Pair("Human: Ice?\n\nAssistant:", " Cold.", " Hot.", "Human: Ice?")],
    ),
    "ultrafeedback, answers only": (
        "ultrafeedback",
        {
            "prompt": "Ice?",
            "chosen": [{"content": "Cold.", "role": "assistant"}],
            "rejected": [{"content": "Hot.", "role": "assistant"}],
        },
        [Pair("Human: Ice?\n\nAssistant:", " Cold.", " Hot.", "Ice?")],
    ),
    "ultrafeedback, texts": (
        "ultrafeedback",
        {"prompt": "Ice?", "chosen": "Cold.", "rejected": "Hot."},
        [Pair("Human: Ice?\n\nAssistant:", " Cold.", " Hot.", "Ice?")],
    ),
    "ultrafeedback, instruction": (
        "ultrafeedback",
        {"instruction": "Ice?", "chosen_response": "Cold.", "rejected_response": "Hot."},
        [Pair("Human: Ice?\n\nAssistant:", " Cold.", " Hot.", "Ice?")],
    ),
    "gsm8k": (
        "gsm8k",
        {"question": "Half of 48?", "answer": "It is 48/2 = <<48/2=24>>24.\n#### 24"},
        [Completion("Question: Half of 48?\nAnswer:", " It is 48/2 = 24.\n#### 24", "Half of 48?")],
    ),
}
