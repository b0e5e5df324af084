"""What the columns of the curves mean, with the equations of the paper (arXiv 2406.09198)."""

PROMPT_CURVES = {
    "total": "sum of the terms, equation (16)",
    "i2t": "image to identity prompt, (5)",
    "t2i": "identity prompt to image, (6)",
    "i2t_clothes": "clothes image to clothes prompt, (12)",
    "t2i_clothes": "clothes prompt to clothes image, (13)",
    "caption_align": "image to the texts about its person",
    "caption_examine": "projected feature to the text about the clothes, 1 - cosine",
    "caption_orthogonal": "squared cosine of feature and text about the clothes",
    "learning_rate": "at the last step of the epoch",
}

ENCODER_CURVES = {
    "total": "weighted sum of the terms, equation (17)",
    "identity": "cross-entropy and triplet, raw images",
    "identity_shielding": "cross-entropy and triplet, shielding images",
    "i2t": "raw image to identity prompts, (7)",
    "i2t_shielding": "shielding image to identity prompts, (9)",
    "centre": "distance of the two centres of an identity, (10)",
    "i2t_clothes": "projected clothes feature to clothes prompts, (14)",
    "disentangle": "identity against clothes feature, (15)",
    "onehot_clothes": "projected clothes feature to one-hot clothes labels, Table 4",
    "cal_classifier": "clothes classifier of CAL",
    "cal_adversarial": "features against CAL's clothes classifier",
    "target_alignment": "raw image to the frozen encoder's shielding image, 1 - cosine",
    "clothes_uniform": "clothes posteriors against uniform, by the clothes prompts",
    "clothes_uniform_own": "posteriors over a person's own clothes against uniform, by the clothes prompts",
    "learning_rate": "at the last step of the epoch",
}
