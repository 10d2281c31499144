"""The policy table of txt2img and img2img: the 240 fields of SD.Next, and what A1111 clients send besides."""

from __future__ import annotations

from gateway.domain.parameters.table import (
    UNBOUNDED,
    Does,
    Row,
    Table,
    choice,
    drops,
    flags,
    floats,
    ints,
    lists,
    objects,
    raws,
    table_of,
    text,
)

LAST_SEED = 2**53 - 1  # the last one that JSON carries whole; decision 0058
_LAST_OFFSET = 2**32 - 1
_PROMPT_CHARACTERS = 100_000
_BIG = int(UNBOUNDED)

_CORE = (
    *text("sd_model_checkpoint", most=1_000, does=Does.RESOLVE),
    *text("prompt", "negative_prompt", most=_PROMPT_CHARACTERS, does=Does.RESOLVE),
    *ints(-1, LAST_SEED, "seed", "subseed"),
    *floats(0, 1, "subseed_strength"),
    *ints(-1, 16_384, "seed_resize_from_h", "seed_resize_from_w"),
    *ints(1, _BIG, "batch_size", "n_iter", "steps", does=Does.PRICE),
    *ints(0, 12, "clip_skip"),
    *ints(64, _BIG, "width", "height", does=Does.PRICE),
)
_SAMPLER_AND_GUIDANCE = (
    *text("sampler_name", "hr_sampler_name", "scheduler", "schedulers_sigma", most=200, does=Does.RESOLVE),
    Row("sampler_index", Does.RESOLVE),  # a name, or SD.Next's and old A1111's number, which means nothing
    *text("guidance_name"),
    *floats(0, 100, "cfg_scale", "guidance_scale", "cfg_true", "cfg_image"),
    *floats(0, 1, "guidance_start", "guidance_stop", "cfg_end", "eta", "scheduler_eta"),
    *floats(0, 10, "guidance_rescale", "cfg_rescale", "cfg_adaptive"),
)
_MISCELLANY = (
    *lists("styles", does=Does.RESOLVE),
    *flags("tiling", "hidiffusion"),
    *choice("vae_type", "Full", "Tiny"),  # "Remote" would send the picture to a stranger's server
    *drops("do_not_reload_embeddings", "enhance_prompt", "skip_processing", "xyz", quiet=(False,)),
)
_HIRES_AND_REFINER = (
    *flags("enable_hr", "hr_force", does=Does.PRICE),
    *floats(0, _BIG, "hr_scale", does=Does.CAP),
    *ints(0, 4, "hr_resize_mode", does=Does.PRICE),  # 5 is a 500 on SD.Next, observed
    *ints(0, _BIG, "hr_resize_x", "hr_resize_y", "hr_second_pass_steps", "refiner_steps", does=Does.PRICE),
    *text("hr_resize_context"),
    *floats(0, 1, "hr_denoising_strength", "hr_refiner_start", "refiner_start"),
    *text("hr_upscaler", most=200, does=Does.RESOLVE),
    *text("refiner_prompt", "refiner_negative", most=_PROMPT_CHARACTERS, does=Does.RESOLVE),
    *drops("firstphase_width", "firstphase_height", quiet=(0,)),
)
_IMAGES = (
    *raws("init_images", "mask"),
    *floats(0, 1, "denoising_strength", "inpainting_mask_weight"),
    *floats(0, 10, "initial_noise_multiplier"),
    *ints(0, 1_024, "mask_blur", "inpaint_full_res_padding"),
    *ints(0, 3, "inpainting_fill"),
    *ints(0, 1, "inpainting_mask_invert"),
    *flags("inpaint_full_res", "img2img_color_correction", "img2img_fix_steps", "mask_apply_overlay", "include_mask"),
    *text("color_correction_method", "img2img_background_color"),
    *drops("init_control", "latent_mask", "mask_for_overlay", "paste_to", "overlay_images", "firstpass_image"),
    *drops("include_init_images", quiet=(False,)),
)
_RESIZE = (
    *floats(0, _BIG, "scale_by", does=Does.PRICE),
    *ints(0, 1, "selected_scale_tab", does=Does.PRICE),
    *ints(0, 4, "resize_mode", does=Does.PRICE),
    *text("resize_name", most=200, does=Does.RESOLVE),
    *text("resize_context"),
    *drops("width_before", "width_after", "width_mask", "height_before", "height_after", "height_mask", quiet=(0,)),
    *drops("resize_mode_before", "resize_mode_after", "resize_mode_mask", quiet=(0,)),
    *drops("resize_name_before", "resize_name_after", "resize_name_mask", quiet=("None",)),
    *drops("resize_context_before", "resize_context_after", "resize_context_mask", quiet=("None",)),
    *drops("selected_scale_tab_before", "selected_scale_tab_after", "selected_scale_tab_mask", quiet=(0,)),
    *drops("scale_by_before", "scale_by_after", "scale_by_mask", quiet=(1,)),
)
_OUTPUT = (
    *drops(
        "send_images", "override_settings_restore_afterwards", "do_not_save_samples", "do_not_save_grid", quiet=(True,)
    ),
    *drops("save_images", "samples_save", "grid_save", "return_grid", "keep_incomplete", quiet=(False,)),
    *drops("save_images_before_highres_fix", "save_images_before_refiner", quiet=(False,)),
    *drops("save_images_before_detailer", "save_images_before_color_correction", quiet=(False,)),
    *drops("samples_format", "grid_format", quiet=("png",)),
    *drops("image_metadata", quiet=(True,)),
    *drops("jpeg_quality"),
)
_DETAILER = (
    *flags("detailer_enabled", does=Does.PRICE),
    *text("detailer_prompt", "detailer_negative", most=_PROMPT_CHARACTERS, does=Does.RESOLVE),
    *ints(1, _BIG, "detailer_steps", does=Does.PRICE),
    *ints(64, 4_096, "detailer_resolution", does=Does.PRICE),
    *ints(0, 16, "detailer_max", does=Does.PRICE),
    *flags(
        "detailer_segmentation", "detailer_include_detections", "detailer_merge", "detailer_sort", "detailer_augment"
    ),
    *text("detailer_classes", most=1_000),
    *floats(0, 1, "detailer_strength", "detailer_conf", "detailer_iou", "detailer_min_size", "detailer_max_size"),
    *floats(0, 10, "detailer_sigma_adjust", "detailer_sigma_adjust_max"),
    *ints(0, 1_024, "detailer_blur", "detailer_padding"),
    *lists("detailer_models", does=Does.RESOLVE),
)
_HDR_AND_GRADING = (
    *ints(0, 2, "hdr_mode"),
    *floats(-10, 10, "hdr_brightness", "hdr_color", "hdr_sharpen", "hdr_tint_ratio", "hdr_boundary", "hdr_threshold"),
    *floats(-10, 10, "hdr_max_center", "hdr_max_boundary"),
    *flags("hdr_clamp", "hdr_maximize", "hdr_apply_hires"),
    *text("hdr_color_picker", "grading_shadows_tint", "grading_highlights_tint"),
    *floats(-10, 10, "grading_brightness", "grading_contrast", "grading_saturation", "grading_gamma"),
    *floats(-360, 360, "grading_hue"),
    *floats(-10, 10, "grading_sharpness", "grading_shadows", "grading_midtones", "grading_highlights"),
    *floats(0, 100, "grading_clahe_clip"),
    *ints(1, 64, "grading_clahe_grid"),
    *floats(1_000, 40_000, "grading_color_temp"),
    *floats(-1, 1, "grading_split_tone_balance", "grading_vignette", "grading_grain", "grading_lut_strength"),
    *drops("grading_lut_file", quiet=("",)),  # a path on the server
)
_SCHEDULER = (
    *choice("schedulers_prediction_type", "default", "epsilon", "sample", "v_prediction", "flow_prediction"),
    *choice("schedulers_beta_schedule", "default", "linear", "scaled", "cosine", "sigmoid", "laplace"),
    *text("schedulers_timesteps", most=1_000, does=Does.CAP),
    *choice("schedulers_timestep_spacing", "default", "leading", "linspace", "trailing"),
    *flags("schedulers_use_thresholding", "schedulers_use_loworder", "schedulers_dynamic_shift"),
    *flags("schedulers_rescale_betas", "enable_batch_seeds", "nan_skip", "sequential_seed"),
    *ints(0, 5, "schedulers_solver_order"),
    *floats(0, 1, "schedulers_beta_start", "schedulers_beta_end"),
    *floats(0, 100, "schedulers_shift", "schedulers_base_shift", "schedulers_max_shift"),
    *ints(1, 10_000, "schedulers_timesteps_range"),
    *floats(0, 10, "schedulers_sigma_adjust", "schedulers_sigma_adjust_min", "schedulers_sigma_adjust_max"),
    *text("uni_pc_variant"),
    *ints(0, _LAST_OFFSET, "eta_noise_seed_delta"),
    *drops("diffusers_generator_device"),
)
_PROMPT_AND_MODIFIERS = (
    *text("prompt_attention"),
    *flags("prompt_mean_norm", "diffusers_zeros_prompt_pad", "te_pooled_embeds", "te_use_mask"),
    *floats(0, 10, "extra_networks_default_multiplier"),
    *ints(-1, 100, "lora_apply_tags"),
    *flags("freeu_enabled"),
    *floats(0, 10, "freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"),
    # What follows changes the checkpoint or the process that all tenants share.
    *drops("te_complex_human_instruction", "lora_apply_te", "lora_fuse_native", "lora_fuse_diffusers"),
    *drops("lora_force_reload", "token_merging_method", "tome_ratio", "todo_ratio"),
    *drops("teacache_enabled", "teacache_thresh", "hypertile_unet_enabled", "hypertile_hires_only"),
    *drops("hypertile_unet_tile", "hypertile_unet_min_tile", "hypertile_unet_swap_size", "hypertile_unet_depth"),
    *drops("hypertile_vae_enabled", "hypertile_vae_tile", "hypertile_vae_swap_size"),
)
_SCRIPTS_AND_NETWORKS = (
    *text("script_name", most=200, does=Does.RESOLVE),
    *lists("script_args", does=Does.RESOLVE),
    *objects("alwayson_scripts", "override_settings", does=Does.RESOLVE),
    *raws("control_units", "ip_adapter", "face", "face_id"),
    *drops("extra", "network_data", quiet=({},)),
)
_A1111 = (
    *text("force_task_id", most=200, does=Does.RESOLVE),
    *drops("restore_faces", "disable_extra_networks", quiet=(False,)),
    *drops("s_churn", "s_tmin", "s_min_uncond", "hr_cfg", "distilled_cfg_scale", "hr_distilled_cfg", quiet=(0,)),
    *drops("s_tmax", quiet=(0, _BIG)),
    *drops("s_noise", quiet=(1,)),
    *drops("hr_prompt", "hr_negative_prompt", "hr_checkpoint_name", "refiner_checkpoint", "infotext", quiet=("",)),
    *drops("hr_scheduler", quiet=("", "automatic", "Automatic", "Use same scheduler")),
    *drops("hr_additional_modules", quiet=([], ["Use same choices"])),
    *drops("comments", quiet=({},)),
    *drops("refiner_switch_at", "image_cfg_scale", "mask_blur_x", "mask_blur_y", "mask_round", "url", "auth"),
)

GENERATION: Table = table_of(
    _CORE,
    _SAMPLER_AND_GUIDANCE,
    _MISCELLANY,
    _HIRES_AND_REFINER,
    _IMAGES,
    _RESIZE,
    _OUTPUT,
    _DETAILER,
    _HDR_AND_GRADING,
    _SCHEDULER,
    _PROMPT_AND_MODIFIERS,
    _SCRIPTS_AND_NETWORKS,
    _A1111,
)
"""Field -> policy, for txt2img and img2img."""

PROMPTS = ("prompt", "negative_prompt", "refiner_prompt", "refiner_negative", "detailer_prompt", "detailer_negative")
"""The fields that hold prompt text, and so may hold tags."""

ONLY_IMG2IMG = frozenset({"init_images", "mask", "face_id"})
"""Fields that a txt2img call may not use: there they would be pictures nobody checks against the size asked."""
