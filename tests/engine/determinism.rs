//! The same bits on any number of threads; instruction paths and granules agree as they should.

use xp::model::{self, Config, Rope, Ropes, Transformer};
use xp::ops::{AttentionShape, Buffer, Cpu, Error, Isa, rows_at_once};
use xp::optim::{AdamW, AdamWConfig, clip_factor, global_norm};

use crate::reference;

fn config() -> Config {
    Config {
        layers: 2,
        hidden_size: 72,
        heads: 3,
        head_dim: 32,
        intermediate_size: 200,
        vocab_size: 301,
        norm_eps: 1e-6,
        init_std: 0.1,
        tie_embeddings: true,
    }
}

fn ropes() -> Ropes {
    reference::ropes(&config(), 1.0)
}

/// Three optimiser steps of two granules each: (losses, parameters).
fn train(cpu: &Cpu, threads: usize) -> (Vec<f64>, Vec<f32>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
    pool.install(|| {
        let config = config();
        let mut params = Buffer::from(model::init(&config, 1));
        let mut model = Transformer::new(cpu.clone(), &config, &ropes()).expect("a valid shape");
        let constants = AdamWConfig { betas: (0.9, 0.95), eps: 1e-8, weight_decay: 0.1 };
        let mut optimiser = AdamW::new(cpu, constants, params.len()).expect("memory");
        let (rows, seq_len) = (4, 101);
        let scale = 1.0 / (2 * rows * (seq_len - 1)) as f32;
        let tokens = reference::tokens(2 * rows * seq_len, config.vocab_size);
        let mut losses = Vec::new();
        for _ in 0..3 {
            let mut grads = Buffer::from(vec![0.0; params.len()]);
            let mut sum = 0.0;
            for granule in tokens.chunks(rows * seq_len) {
                sum += model
                    .forward_backward(&params, granule, rows, scale, &mut grads)
                    .expect("valid tokens");
            }
            losses.push(sum * f64::from(scale));
            let clip = clip_factor(global_norm(cpu, &grads).expect("cpu"), 1.0);
            optimiser.step(cpu, &mut params, &grads, 1e-2, clip).expect("cpu");
        }
        (losses, params.to_vec())
    })
}

#[test]
fn thread_counts_do_not_change_a_bit() {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let run = |threads| train(&Cpu::with_isa(isa).expect("available"), threads);
        let one = run(1);
        assert!(one.0[2] < one.0[0], "it learns: {:?}", one.0);
        for threads in [2, 3, 4] {
            assert!(run(threads) == one, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn parts_of_a_granule_come_to_the_bits_of_the_whole() {
    let (rows, seq_len) = (20, 512);
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool")
    };
    for tie_embeddings in [true, false] {
        let config = Config { tie_embeddings, ..config() };
        let Config { heads, head_dim, vocab_size, .. } = config;
        let granule = AttentionShape { rows, seq_len, heads, head_dim, rotary_dim: head_dim };
        assert_eq!([1, 24].map(|threads| rows_at_once(granule, vocab_size, threads)), [16, rows]);

        let params = Buffer::from(model::init(&config, 1));
        let tokens = reference::tokens(rows * seq_len, vocab_size);
        let mut model = Transformer::new(Cpu::new(), &config, &ropes()).expect("a valid shape");
        // In parts (the last is shorter), whole, and in parts again: buffers are kept, and grow between.
        let [parts, whole, again] = [1, 24, 1].map(|threads| {
            let mut grads = Buffer::from(vec![0.5; params.len()]);
            let sum = on(threads).install(|| {
                model
                    .forward_backward(&params, &tokens, rows, 1e-3, &mut grads)
                    .expect("valid tokens")
            });
            (sum, grads.to_vec())
        });
        assert!(parts == whole && again == whole);
    }
}

#[test]
fn instruction_paths_agree_within_rounding() {
    let (want, _) = train(&Cpu::with_isa(Isa::Portable).expect("always"), 2);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let (got, _) = train(&Cpu::with_isa(isa).expect("available"), 2);
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5 * want, "{isa}: {got} instead of {want}");
        }
    }
}

#[test]
fn a_used_workspace_leaves_no_trace() {
    let config = config();
    let params = Buffer::from(model::init(&config, 1));
    let tokens = reference::tokens(4 * 60, config.vocab_size);
    let step = |model: &mut Transformer<Cpu>, tokens: &[u32], rows| {
        let mut grads = Buffer::from(vec![0.0; params.len()]);
        let loss = model.forward_backward(&params, tokens, rows, 1.0, &mut grads).expect("valid");
        (loss, grads.to_vec())
    };
    let fresh = || Transformer::new(Cpu::new(), &config, &ropes()).expect("a valid shape");
    let want = step(&mut fresh(), &tokens[..2 * 31], 2);
    let mut used = fresh();
    step(&mut used, &tokens, 4); // larger
    used.losses(&params, &tokens).expect("valid tokens");
    assert!(step(&mut used, &tokens[..2 * 31], 2) == want);
    used.release();
    assert!(step(&mut used, &tokens[..2 * 31], 2) == want);
}

#[test]
fn mistakes_are_errors() {
    let config = config();
    let params = Buffer::from(model::init(&config, 1));
    let mut model = Transformer::new(Cpu::new(), &config, &ropes()).expect("a valid shape");
    let mut grads = Buffer::from(vec![0.0; params.len()]);
    let mut tokens = vec![0u32; 20];
    for (count, rows) in [(20, 0), (20, 3), (20, 20), (0, 1), (1, 1)] {
        let error = model.forward_backward(&params, &tokens[..count], rows, 1.0, &mut grads);
        assert!(matches!(error, Err(Error::Shape { .. })), "{count} tokens in {rows} rows");
    }
    assert!(matches!(model.losses(&params, &tokens[..1]), Err(Error::Shape { .. })));
    for bad in [301, u32::MAX] {
        tokens[13] = bad;
        let want = Error::Token { position: 13, token: bad, vocab_size: 301 };
        assert_eq!(model.losses(&params, &tokens), Err(want.clone()));
        let got = model.forward_backward(&params, &tokens, 2, 1.0, &mut grads);
        assert_eq!(got, Err(want));
    }
    assert!(grads.iter().all(|&g| g == 0.0));
    let long = Rope { inv_freq: vec![1.0; 17], attention_scale: 1.0 };
    let long = Ropes::uniform(long, config.layers);
    assert!(matches!(Transformer::new(Cpu::new(), &config, &long), Err(Error::Shape { .. })));
    assert!(matches!(model.set_ropes(&long), Err(Error::Shape { .. })));
}
