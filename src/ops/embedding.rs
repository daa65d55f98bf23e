//! Embedding: rows of a table by token id, and the scatter-add of their gradients.

use rayon::prelude::*;

/// Rows copied by one forward task.
const ROWS: usize = 128;

pub(crate) fn forward(width: usize, table: &[f32], tokens: &[u32], out: &mut [f32]) {
    assert!(out.len() == tokens.len() * width, "one row a token");
    out.par_chunks_mut(ROWS * width).zip(tokens.par_chunks(ROWS)).for_each(|(out, tokens)| {
        for (row, &token) in out.chunks_exact_mut(width).zip(tokens) {
            row.copy_from_slice(&table[token as usize * width..][..width]);
        }
    });
}

pub(crate) fn backward(width: usize, tokens: &[u32], dy: &[f32], d_table: &mut [f32]) {
    assert!(dy.len() == tokens.len() * width, "one row a token");
    // Tokens grouped by id: each task owns rows of the table. The sort is stable, so the sum of
    // a row runs over its tokens in order.
    let mut order: Vec<u32> = (0..tokens.len() as u32).collect();
    order.sort_by_key(|&i| tokens[i as usize]);
    let mut rest = d_table;
    let mut taken = 0;
    let mut rows = Vec::new();
    for group in order.chunk_by(|&a, &b| tokens[a as usize] == tokens[b as usize]) {
        let start = tokens[group[0] as usize] as usize * width;
        let (row, tail) = rest.split_at_mut(start - taken).1.split_at_mut(width);
        (rest, taken) = (tail, start + width);
        rows.push((row, group));
    }
    rows.into_par_iter().for_each(|(row, group)| {
        for &i in group {
            for (sum, g) in row.iter_mut().zip(&dy[i as usize * width..][..width]) {
                *sum += g;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn gathers_and_scatters_in_token_order() {
        let (width, vocab) = (70, 9);
        let tokens = [3, 0, 8, 3, 3, 0, 7];
        let table = noise(vocab * width, "table");
        let mut out = vec![0.0; tokens.len() * width];
        forward(width, &table, &tokens, &mut out);
        for (i, &t) in tokens.iter().enumerate() {
            assert_eq!(out[i * width..][..width], table[t as usize * width..][..width]);
        }
        let dy = noise(out.len(), "dy");
        let mut got = table.clone();
        backward(width, &tokens, &dy, &mut got);
        let mut want = table;
        for (i, &t) in tokens.iter().enumerate() {
            for j in 0..width {
                want[t as usize * width + j] += dy[i * width + j];
            }
        }
        assert_eq!(got, want);
    }
}
