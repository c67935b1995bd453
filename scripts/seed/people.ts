/** Who lives in the demonstration world. The phone numbers are of the range that is kept for fiction. */
export type Person = { username: string; displayName: string; phone: string; location: string; bio: string };

export const people: Person[] = [
  {
    username: 'alice',
    displayName: 'Alice Moreau',
    phone: '+12025550101',
    location: 'Lyon',
    bio: 'Runs procurement; asks why.',
  },
  {
    username: 'bob',
    displayName: 'Bob Keller',
    phone: '+12025550102',
    location: 'Hamburg',
    bio: 'Logistics, trains, sourdough.',
  },
  {
    username: 'carol',
    displayName: 'Carol Nguyen',
    phone: '+12025550103',
    location: 'Toronto',
    bio: 'Designer of forms nobody hates.',
  },
  {
    username: 'dmitry',
    displayName: 'Дмитрий Соколов',
    phone: '+12025550104',
    location: 'Алматы',
    bio: 'Склад и база данных.',
  },
  {
    username: 'elena',
    displayName: 'Елена Ким',
    phone: '+12025550105',
    location: 'Астана',
    bio: 'Договоры, сроки, порядок.',
  },
  {
    username: 'farid',
    displayName: 'Farid Rahimov',
    phone: '+12025550106',
    location: 'Tashkent',
    bio: 'Suppliers of everything in Central Asia.',
  },
  { username: 'mei', displayName: '陈美', phone: '+12025550107', location: '深圳', bio: '负责工厂和样品。' },
  {
    username: 'hiroshi',
    displayName: '田中 宏',
    phone: '+12025550108',
    location: '大阪',
    bio: '品質管理を担当しています。',
  },
  {
    username: 'ines',
    displayName: 'Inês Carvalho',
    phone: '+12025550109',
    location: 'Porto',
    bio: 'Têxteis e boa comida.',
  },
  {
    username: 'javier',
    displayName: 'Javier Ortiz',
    phone: '+12025550110',
    location: 'Valencia',
    bio: 'Aduanas, puertos y paciencia.',
  },
  {
    username: 'katrin',
    displayName: 'Katrin Vogel',
    phone: '+12025550111',
    location: 'Leipzig',
    bio: 'Buchhaltung mit Humor.',
  },
  {
    username: 'leyla',
    displayName: 'Лейла Ахметова',
    phone: '+12025550112',
    location: 'Алматы',
    bio: 'Помогаю новичкам.',
  },
];
