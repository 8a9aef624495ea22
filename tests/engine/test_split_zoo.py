"""Every network of torchvision and one of each family of timm: the parts do what the whole network does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from engine.models import torchvision_source
from engine.models.split import bridge
from tests.engine.split_cases import PLANS, build, compare, images, plan, split_under

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.usefixtures("one_thread")]

# Sides of images in pixels: small ones where the network takes them, 0 for the only one that it takes.
SIZES = {
    "inception_v3": 0,
    "maxvit_t": 0,
    "vit_h_14": 28,
    "vit_b_32": 64,
    "vit_l_32": 64,
    "alexnet": 64,
    "googlenet": 64,
}
TIMM = {
    "vit_tiny_patch16_224": 32,
    "deit_tiny_distilled_patch16_224": 32,
    "deit3_small_patch16_224": 32,
    "beit_base_patch16_224": 32,
    "beitv2_base_patch16_224": 32,
    "eva02_tiny_patch14_336": 28,
    "cait_xxs24_224": 32,
    "xcit_nano_12_p16_224": 32,
    "swin_tiny_patch4_window7_224": 0,
    "swinv2_cr_tiny_ns_224": 0,
    "pvt_v2_b0": 64,
    "twins_svt_small": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "maxvit_rmlp_pico_rw_256": 0,
    "coatnet_nano_rw_224": 0,
    "coat_lite_tiny": 64,
    "mixer_s32_224": 64,
    "resmlp_12_224": 32,
    "gmlp_s16_224": 32,
    "resnext50_32x4d": 64,
    "resnetv2_50": 64,
    "seresnet50": 64,
    "regnety_002": 64,
    "efficientnet_b0": 64,
    "efficientnetv2_rw_t": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small": 64,
    "mobilevit_xxs": 64,
    "densenet121": 64,
    "nfnet_f0": 64,
    "eca_nfnet_l0": 64,
    "poolformer_s12": 64,
    "edgenext_xx_small": 64,
    "ghostnet_050": 64,
    "hrnet_w18_small": 64,
    "dpn48b": 64,
    "dla34": 64,
    "inception_resnet_v2": 128,
    "inception_v4": 128,
    "xception41": 64,
    "vgg11_bn": 64,
    "rexnet_100": 64,
    "repvgg_a0": 64,
    "repvit_m0_9": 64,
    "fastvit_t8": 64,
    "levit_128s": 0,
    "crossvit_tiny_240": 0,
    "mvitv2_tiny": 64,
    "davit_tiny": 64,
    "focalnet_tiny_srf": 64,
    "hiera_tiny_224": 0,
    "tiny_vit_5m_224": 0,
    "visformer_tiny": 0,
    "resnest14d": 64,
    "res2net50_26w_4s": 64,
    "selecsls42": 64,
    "starnet_s1": 64,
    "inception_next_atto": 64,
    "efficientformerv2_s0": 0,
    "volo_d1_224": 0,
    "tf_mixnet_s": 64,
    "hardcorenas_a": 64,
    "cspresnet50": 64,
    "vovnet39a": 64,
    "bat_resnext26ts": 0,
    "lambda_resnet26t": 0,
    "halonet26t": 0,
    "test_resnet": 64,
    "nest_tiny": 0,
    "pit_ti_224": 0,
    "tnt_s_legacy_patch16_224": 0,
    "convit_tiny": 0,
    "convmixer_768_32": 64,
    "sequencer2d_s": 0,
    "efficientvit_b0": 64,
    "efficientvit_m0": 0,
    "gcvit_xxtiny": 0,
}
NETWORKS = {name: SIZES.get(name, 32 if name.startswith("vit_") else 64) for name in torchvision_source.names()} | {
    f"timm/{name}": size for name, size in TIMM.items()
}
IN_DOUBLE = {"resnet18": 64, "densenet121": 32, "swin_t": 64, "vit_b_16": 32, "timm/convnext_atto": 64}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_parts_do_what_the_whole_network_does(name: str, record_property: Callable[[str, object], None]):
    classifier = build(name, NETWORKS[name])
    splits = {}
    for kind in PLANS:
        parts, freezing = split_under(classifier, plan(classifier, kind))
        errors = compare(classifier, parts, freezing)
        record_property(kind, f"{parts.kind} {errors.worst:.1e} {parts.why}")
        assert errors.worst < 1e-5
        splits[kind] = parts
        assert parts.why == ""
        assert parts.kind == "graph" or name == "timm/volo_d1_224"  # three stages: "mixed" trains the first

    deepest, inputs = splits["head only"], images(classifier)
    with torch.no_grad():
        expected = deepest.prefix(inputs)
        for kind in ("last stage", "mixed"):
            between = bridge(splits[kind], deepest)
            assert between is not None
            assert all(map(torch.equal, between(*splits[kind].prefix(inputs)), expected))


@pytest.mark.parametrize("name", IN_DOUBLE)
def test_in_double_precision_next_to_nothing_differs(name: str):
    classifier = build(name, IN_DOUBLE[name], torch.float64)
    for kind in PLANS:
        parts, freezing = split_under(classifier, plan(classifier, kind))
        assert compare(classifier, parts, freezing).worst < 1e-10
