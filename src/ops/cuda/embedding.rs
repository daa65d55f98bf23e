//! The embedding's gradient on the device: the host groups positions by token id, one kernel sums
//! pieces of groups, another the pieces of each group.

use super::driver::{Address, Driver};
use super::{Buf, Cuda, Tokens, int, wide};
use crate::ops::Error;
use crate::ops::backend::{View, ViewMut};

/// Tokens of one id that one block sums: a frequent token's sum is spread over many blocks.
pub(super) const PIECE: usize = 32;

/// dtable\[tokens\[i\]\] += dy\[i\], in the order of i within a piece, then in that of the pieces.
pub(super) fn backward<D: Driver>(
    cuda: &Cuda<D>,
    width: usize,
    tokens: &Tokens<D>,
    dy: &View<'_, Buf<D>>,
    dtable: &ViewMut<'_, Buf<D>>,
) -> Result<(), Error> {
    let ids = &tokens.ids;
    assert_eq!(dy.len, ids.len() * width, "one row a token");
    wide(dy.buf);
    // Positions grouped by token id, in order within a group; groups cut into pieces.
    let mut order: Vec<u32> = (0..ids.len() as u32).collect();
    order.sort_by_key(|&i| ids[i as usize]);
    let (mut starts, mut groups, mut distinct) = (vec![0], vec![0], Vec::new());
    for group in order.chunk_by(|&a, &b| ids[a as usize] == ids[b as usize]) {
        for piece in group.chunks(PIECE) {
            let start = starts[starts.len() - 1];
            starts.push(start + piece.len() as u32);
        }
        groups.push(starts.len() as u32 - 1);
        distinct.push(ids[group[0] as usize]);
    }
    let pieces = starts.len() - 1;
    let sums = cuda.scratch("sums of an embedding's gradient", 4 * pieces * width)?;
    let lists = [&order, &starts, &groups, &distinct];
    let all: Vec<u32> = lists.into_iter().flatten().copied().collect();
    let at = cuda.scratch("tokens grouped by id", 4 * all.len())?;
    cuda.write_indices(&all, at)?;
    let mut next = at;
    let [order, starts, groups, ids] = lists.map(|list| {
        let at = next;
        next += 4 * list.len() as Address;
        at
    });
    let arguments = [dy.at().into(), order.into(), starts.into(), sums.into(), int(width)];
    cuda.launch("embedding_pieces", [pieces, 1, 1], (128, 0), &arguments)?;
    let arguments = [sums.into(), groups.into(), ids.into(), dtable.at().into(), int(width)];
    cuda.launch("embedding_groups", [distinct.len(), 1, 1], (128, 0), &arguments)
}
