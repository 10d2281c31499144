import pytest

from gateway.domain.pricing import Price, price_of_generation, price_of_upscale

PLAIN = {"batch_size": 2, "n_iter": 2, "steps": 10}


def work(first=(1000, 1000), last=(1000, 1000), factor=1.0, **more):
    return price_of_generation(PLAIN | more, first, last, factor=factor, input_bytes=0).megapixel_steps


def test_the_work_is_steps_times_megapixels_times_images():
    assert work() == pytest.approx(40.0)


def test_a_second_pass_costs_its_own_steps_at_its_own_size():
    assert work(last=(2000, 2000), enable_hr=True, hr_force=True, hr_second_pass_steps=5) == pytest.approx(
        4 * (10 + 5 * 4)
    )
    assert work(last=(2000, 2000), enable_hr=True) == pytest.approx(40.0)


def test_the_detailer_costs_one_region_for_each_picture():
    extra = work(detailer_enabled=True, detailer_steps=10, detailer_resolution=1000) - work()
    assert extra == pytest.approx(4 * 10.0)


def test_a_script_multiplies_the_work_only():
    assert work(factor=3.0) == pytest.approx(120.0)


def test_the_answer_is_estimated_with_four_bytes_a_pixel_of_the_final_size():
    price = price_of_generation(PLAIN, (512, 512), (1024, 1024), factor=1.0, input_bytes=77)
    assert (price.images, price.answer_bytes, price.input_bytes) == (4, 4 * 1024 * 1024 * 4, 77)


def test_an_upscale_is_one_picture_without_steps():
    assert price_of_upscale((2000, 1000), 5) == Price(1, 0.0, 2.0, 8_000_000, 5)
